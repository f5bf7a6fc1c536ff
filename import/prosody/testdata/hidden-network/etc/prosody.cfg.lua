daemonize = true;
interfaces = { "127.0.0.1" }
admins = { "admin@abcdefgh.example" }
modules_enabled = {
	"roster"; "saslauth"; "tls"; "dialback"; "disco"; "carbons"; "pep"; "private"; "blocklist"; "vcard4"; "limits"; "ping"; "register";
	"admin_adhoc"; "limit_auth"; "default_bookmarks"; "darknet"
}
limit_auth_period = 30
limit_auth_max = 5
darknet_only = true
VirtualHost "abcdefgh.example"
        ssl = {
                key = "/etc/prosody/certs/key.pem";
                certificate = "/etc/prosody/certs/crt.pem";
        }
VirtualHost "localhost"
	modules_disabled = {"tls"}
