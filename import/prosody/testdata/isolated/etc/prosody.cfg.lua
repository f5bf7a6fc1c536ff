-- A host that is kept apart, with a role that may reach out.
modules_enabled = { "isolate_host" }
add_permissions = { ["prosody:registered"] = { "xmpp:federate" } }
interfaces = { "192.0.2.7" }
VirtualHost "isolated.test"
