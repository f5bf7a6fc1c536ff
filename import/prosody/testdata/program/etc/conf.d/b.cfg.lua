VirtualHost "guests.env.test"
	authentication = "anonymous"
	default_user_role = "limited"
