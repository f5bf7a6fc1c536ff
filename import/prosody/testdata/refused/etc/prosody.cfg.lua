VirtualHost "a.test"
	custom_roles = { { name = "staff" } }
VirtualHost "b.test"
