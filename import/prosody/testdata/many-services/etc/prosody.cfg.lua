admins = { "admin@example.org" }
modules_enabled = {
        "disco"; "roster"; "saslauth"; "tls"; "blocklist"; "bookmarks"; "carbons"; "dialback"; "limits"; "pep"; "private"; "smacks";
        "vcard4"; "vcard_legacy"; "csi_simple"; "invites"; "invites_adhoc"; "invites_register"; "ping"; "register"; "time"; "uptime";
        "version"; "mam"; "turn_external"; "admin_adhoc"; "admin_shell"; "bosh"; "websocket"; "announce"; "groups"; "mimicking";
        "s2s_bidi"; "server_contact_info"; "tombstones"; "watchregistrations"; "welcome"; "cloud_notify"; "privilege";
        "throttle_unsolicited"; "block_registrations"
}
s2s_secure_auth = true
limits = { c2s = { rate = "10mb/s"; }; }
authentication = "internal_hashed"
allow_registration = true
registration_invite_only = true
user_tombstone_expire = 60*86400
site_apps = {
    {
        name  = "Client";
        text  = [[A client for every device.]];
        download = { buttons = { { text = "Get it"; url = "https://example.com/"; }; }; };
    };
}
c2s_ports = { 5222 }
c2s_direct_tls_ports = { 5223 }
block_registrations_users = { "admin", "root", "postmaster" }
trusted_proxies = { "127.0.0.1" }

VirtualHost "example.org"
http_host = "register.example.org"

Component "muc.example.org" "muc"
name = "Rooms"
restrict_room_creation = "local"
component_admins_as_room_owners = true
modules_enabled = { "muc_mam", "vcard_muc", "muc_moderation", "muc_ban_ip" }
muc_log_cleanup_interval = 4*60*60

Component "files.example.org" "http_file_share"
http_file_share_size_limit = 100*1024*1024

Component "news.example.org" "pubsub"
server_user_role = "prosody:registered"
add_permissions = {
	["prosody:registered"] = { "pubsub:create-node" }
}

Component "relay.example.org" "proxy65"

Component "irc.example.org"
        component_secret = "not-a-secret"
        modules_enabled = { "privilege" }
