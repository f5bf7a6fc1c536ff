plugin_paths = { "/usr/local/lib/prosody/custom-modules/" };
modules_enabled = {
	"roster"; "saslauth"; "tls"; "dialback"; "disco"; "private"; "vcard4"; "vcard_legacy"; "version"; "uptime"; "time";
	"ping"; "pep"; "blocklist"; "register"; "mam"; "carbons"; "smacks"; "csi_simple"; "cloud_notify"; "http"; "limits";
	"server_contact_info"; "admin_adhoc"; "invites"; "invites_register"; "throttle_presence";
};
