local domain = os.getenv("DOMAIN")
local domain_http_upload = os.getenv("DOMAIN_HTTP_UPLOAD")
local domain_muc = os.getenv("DOMAIN_MUC")
local domain_proxy = os.getenv("DOMAIN_PROXY")

legacy_ssl_ssl = {
	certificate = "certs/" .. domain .. "/fullchain.pem";
	key = "certs/" .. domain .. "/privkey.pem";
}
https_ssl = {
	certificate = "certs/" .. domain_http_upload .. "/fullchain.pem";
}
invite_expiry = 86400 * 7

VirtualHost (domain)
    http_paths = {
        invites_page = "/invite";
     }

Component (domain_http_upload) "http_upload"
	http_upload_expire_after = 60 * 60 * 24 * 7

Component (domain_muc) "muc"
	name = "Chatrooms"
	restrict_room_creation = false
	modules_enabled = {
		"muc_mam",
		"vcard_muc"
	}

Component (domain_proxy) "proxy65"
	proxy65_address = domain_proxy
	proxy65_acl = { domain }
