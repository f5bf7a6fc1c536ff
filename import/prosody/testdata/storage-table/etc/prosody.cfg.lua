local domain = Lua.os.getenv("PROSODY_DOMAIN") or "localhost"
local bridge = Lua.os.getenv("BRIDGE_JID") or ("bridge." .. domain)
modules_enabled = {
    "roster", "saslauth", "sasl2", "sasl2_fast", "tls", "dialback", "disco", "presence", "message", "iq", "s2s_bidi", "limits", "version",
    "mam", "carbons", "offline", "smacks", "csi", "vcard4", "pep", "private", "bookmarks", "cloud_notify", "tokenauth", "http_oauth2",
    "blocklist", "anti_spam", "admin_blocklist", "invites", "mimicking", "tombstones", "flags", "admin_adhoc", "admin_shell", "http",
    "bosh", "websocket", "turn_external", "groups", "server_contact_info", "audit", "audit_auth", "account_activity",
}
admins = {
    Lua.os.getenv("ADMIN_JID") or ("admin@" .. domain),
    Lua.os.getenv("BRIDGE_ADMIN_JID") or ("bridge@" .. bridge),
}
default_storage = "sql"
sql = { driver = "SQLite3", database = "data/prosody.sqlite" }
storage = {
	accounts = "sql", roster = "sql", vcard = "sql", private = "sql", blocklist = "sql", archive = "sql", muc_log = "sql",
	pubsub_nodes = "sql", pep = "sql", caps = "memory", carbons = "memory",
}
archive_expires_after = Lua.os.getenv("ARCHIVE_EXPIRES_AFTER") or "1y"
default_archive_policy = Lua.os.getenv("ARCHIVE_POLICY") ~= "false"
max_archive_query_results = Lua.tonumber(Lua.os.getenv("ARCHIVE_MAX_RESULTS")) or 250
gc = {
	speed = Lua.tonumber(Lua.os.getenv("LUA_GC_SPEED")) or 200,
}
https_ports = (Lua.os.getenv("HTTPS_VIA_PROXY") == "true") and {} or { 5281 }
interfaces = { "127.0.0.1" }
c2s_interfaces = { "*" }
allow_registration = Lua.os.getenv("ALLOW_REGISTRATION") ~= "false"
VirtualHost(domain)
authentication = "internal_hashed"
ssl = {
    key = Lua.os.getenv("SSL_KEY") or
        ("certs/live/" .. domain .. "/privkey.pem"),
}
Component("muc." .. domain) "muc"
Component("pubsub." .. domain) "pubsub"
add_permissions = {
    ["prosody:registered"] = { "pubsub:create-node" },
}
Component(bridge) "component"
component_secret = Lua.os.getenv("BRIDGE_SECRET") or "not-a-secret"
contact_info = {
	admin = { "xmpp:admin@" .. domain, "mailto:" .. (Lua.os.getenv("ADMIN_EMAIL") or ("admin@" .. domain)) },
}
