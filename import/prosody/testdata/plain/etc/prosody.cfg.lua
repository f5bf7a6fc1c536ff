-- A small server with rooms and uploads.
admins = { "alice@example.test", "root@elsewhere.test" }
modules_enabled = { "roster", "saslauth", "tls", "pep", "bosh" }
authentication = "internal_hashed"
ssl = { key = "certs/example.key" }

VirtualHost "example.test"
Component "rooms.example.test" "muc"
	name = "Rooms"
	custom_roles = { { name = "moderator" } }
Component "upload.example.test" "http_file_share"
	http_file_share_size_limit = 10 * 1024 * 1024
