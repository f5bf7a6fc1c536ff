local domain = os.getenv("XMPP_DOMAIN") or "localhost"
local realm = os.getenv("IDP_REALM") or "chat"
local db_port = tonumber(os.getenv("DB_PORT")) or 5432
local quota = tonumber(os.getenv("FILE_QUOTA_MB") or "100") * 1024 * 1024

modules_enabled = { "roster"; "saslauth"; "tls"; "dialback"; "disco"; "private"; "vcard4"; "pep"; "carbons"; "mam"; "auth_oauth_external"; "http_file_share"; }
authentication = "oauth_external"
oauth_external_token_endpoint = "http://idp:8080/realms/" .. realm .. "/protocol/openid-connect/token"
oauth_external_client_secret = os.getenv("OAUTH_SECRET")
http_file_share_daily_quota = quota
storage = "sql"
sql = {
    driver = "PostgreSQL";
    database = os.getenv("DB_NAME") or "idp";
    username = os.getenv("DB_USER") or "prosody";
    password = os.getenv("DB_PASSWORD");
    host = os.getenv("DB_HOST") or "db";
    port = db_port;
}
VirtualHost (domain)
    ssl = { key = "/etc/prosody/certs/" .. domain .. ".key"; }
Component ("conference." .. domain) "muc"
    restrict_room_creation = "local"
