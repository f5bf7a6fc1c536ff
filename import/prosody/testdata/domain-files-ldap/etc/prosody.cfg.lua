admins = { }
plugin_paths = { "/usr/local/lib/app/modules" }
modules_enabled = {
	"roster"; "saslauth"; "tls"; "dialback"; "disco"; "carbons"; "pep"; "private"; "blocklist"; "vcard4"; "vcard_legacy"; "limits";
	"version"; "uptime"; "time"; "ping"; "register"; "admin_adhoc"; "posix";
}
modules_disabled = {
}
allow_registration = false
daemonize = false;
limits = { c2s = { rate = "10kb/s"; }; s2sin = { rate = "30kb/s"; }; }
authentication = "internal_hashed"
archive_expires_after = "1w"
certificates = "certs"
VirtualHost "localhost"
Include "conf.d/*.cfg.lua"
