function env_list(value)
	local out = {}
	for item in (value or ""):gmatch("[^,%s]+") do
		out[#out + 1] = item
	end
	return out
end

data_path = "/app/data"
certificates = "/app/data/certs"
admins = env_list(os.getenv("PROSODY_ADMINS"))
allow_registration = (os.getenv("ALLOW_REGISTRATION") == "true")
c2s_require_encryption = (os.getenv("C2S_REQUIRE_ENCRYPTION") ~= "false")
authentication = os.getenv("AUTHENTICATION") or "internal_hashed"
ldap_base = os.getenv("LDAP_BASE")
ldap_server = os.getenv("LDAP_SERVER") or "localhost"
ldap_password = os.getenv("LDAP_PASSWORD") or ""
ldap_tls = (os.getenv("LDAP_TLS") == "true")
ldap_admin_filter = os.getenv("LDAP_ADMIN_FILTER")
turn_external_host = os.getenv("TURN_SERVER")
turn_external_port = tonumber(os.getenv("TURN_PORT") or "3478")
http_external_url = os.getenv("HTTP_EXTERNAL_URL")
log = {
	{ levels = { min = os.getenv("LOG_LEVEL") or "info" }, to = "console" };
}
interfaces = { "0.0.0.0", "::" }
modules_enabled = { "roster"; "saslauth"; "tls"; "disco"; "carbons"; "mam"; "smacks"; "websocket"; "http_host_status_check" }
VirtualHost (os.getenv("DOMAIN"))
	http_host = os.getenv("DOMAIN")
Component ("rooms." .. os.getenv("DOMAIN")) "muc"
	modules_enabled = { "muc_mam" }
	muc_log_by_default = (os.getenv("MUC_LOG") ~= "false")
