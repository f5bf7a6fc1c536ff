modules_enabled = { "roster"; "saslauth"; "restrict_xmpp" }
custom_roles = {
	{ name = "desk"; inherits = { "prosody:registered" } };
	{ name = "lead"; inherits = { "desk" }; allow = { "xmpp:account:write" } };
}
VirtualHost "a.example.org"
	add_permissions = { ["prosody:registered"] = { "xmpp:account:write", "xmpp:account:read" } }
VirtualHost "b.example.org"
	remove_permissions = { ["prosody:registered"] = { "xmpp:federate" } }
