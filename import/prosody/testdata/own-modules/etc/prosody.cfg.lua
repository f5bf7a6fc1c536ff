admins = { }
modules_enabled = { "roster"; "saslauth"; "dialback"; "disco"; "private"; "vcard"; "version"; "ping"; "pep"; "legacyauth"; "offline_own"; }
modules_disabled = {
	"offline";
}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "company"
authorization = "company"
storage = "company"
VirtualHost "x"
RunScript "hosts.lua"
