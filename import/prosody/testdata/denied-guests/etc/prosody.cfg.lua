modules_enabled = { "roster"; "saslauth"; "restrict_federation" }
remove_permissions = { ["prosody:guest"] = { "xmpp:federate" } }
VirtualHost "denied.test"
