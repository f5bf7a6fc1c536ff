VirtualHost "localhost"
	authentication = "internal_plain"
