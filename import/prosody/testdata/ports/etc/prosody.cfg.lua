c2s_ports = "many"
custom_roles = { name = "alone" }
add_permissions = { ["prosody:member"] = "xmpp:federate" }
VirtualHost "ports.test"
	modules_enabled = { "isolate_host" }
	isolate_except_users = { "a@ports.test" }
	storage = { account_roles = "sql" }
	authorization = "ldap"
VirtualHost "bücher.test" { admins = { "ann@bücher.test" }; modules_enabled = { "isolate_host" } }
Component "transport.elsewhere.test"
	component_secret = "s3cr3t"
