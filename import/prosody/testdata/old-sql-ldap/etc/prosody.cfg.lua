admins = { }
cross_domain_websocket = true;
smacks_hibernation_time = 300;
modules_enabled = {
	"roster"; "saslauth"; "tls"; "dialback"; "disco"; "private"; "vcard"; "compression"; "version"; "uptime"; "time"; "ping"; "pep";
	"register"; "admin_adhoc"; "bosh"; "groups"; "websocket"; "carbons"; "smacks"; "mam"; "offline"; "legacyauth"; "privacy";
 };
modules_disabled = {
};
daemonize = true;
ssl = { key = "/etc/prosody/certs/localhost.key"; certificate = "/etc/prosody/certs/localhost.crt"; }
authentication = "ldap"

Include '/etc/prosody/prosody-ldap.cfg.lua'

default_storage = "sql2"
sql = { driver = "PostgreSQL", database = "prosody", username = "prosody", password = "not-a-secret", host = "db" }

VirtualHost "example.org"
	ssl = { key = "/etc/prosody/certs/localhost.key"; }

Component "chat.example.org" "muc"
    restrict_room_creation = "local";

Include "conf.d/*.cfg.lua"
