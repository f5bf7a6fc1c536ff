default_storage = "sql"
storage = "internal"
default_user_role = "prosody:guest"
VirtualHost "files.test"
VirtualHost "table.test"
	storage = { account_roles = "internal", accounts = "sql" }
VirtualHost "sql.test"
	storage = {}
VirtualHost "text.test"
	storage = "sql"
	admins = { "boss@text.test" }
VirtualHost "none.test"
	storage = { account_roles = "none" }
VirtualHost "odd.test"
	storage = { account_roles = true }
VirtualHost "nobody.test"
VirtualHost "anonymous.test"
	authentication = "anonymous"
VirtualHost "ldap.test"
	authentication = "ldap"
	default_user_role = "prosody:registered"
VirtualHost "authz.test"
	authorization = "delegate"
	admins = { "boss@authz.test" }
