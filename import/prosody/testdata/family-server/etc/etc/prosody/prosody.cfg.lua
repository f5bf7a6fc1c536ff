local function split(s)
	local v = {};
	for p in (s or ""):gmatch("[^%s,]+") do
		v[#v+1] = p;
	end
	return v;
end

local DOMAIN = Lua.assert(ENV_FAMILY_DOMAIN, "Please set FAMILY_DOMAIN")
local RETENTION_DAYS = Lua.tonumber(ENV_FAMILY_RETENTION_DAYS) or 7;
local UPLOAD_STORAGE_GB = Lua.tonumber(ENV_FAMILY_UPLOAD_STORAGE_GB);

if Lua.prosody.process_type == "prosody" and not Lua.prosody.config_loaded then
	local lfs, socket = Lua.require "lfs", Lua.require "socket";
	while not lfs.attributes("/etc/prosody/certs/"..DOMAIN..".crt", "mode") do
		socket.sleep(5);
	end
end

network_backend = "epoll"
plugin_paths = { "/etc/prosody/modules" }
data_path = "/family/prosody"
admin_shell_prompt = ("prosody [%s]> "):format(DOMAIN)

modules_enabled = {
	"roster"; "saslauth"; "tls"; "disco"; "carbons"; "pep"; "blocklist"; "vcard4"; "vcard_legacy"; "password_policy";
	"uptime"; "time"; "ping"; "register"; "mam"; "csi_simple";
	"sasl2"; "sasl2_bind2"; "sasl2_sm"; "sasl2_fast"; "client_management";
	"audit"; "audit_auth"; "audit_status"; "audit_user_accounts";
	"cloud_notify"; "push2"; "bosh"; "websocket"; "http_xep227";
	"limits"; "watchregistrations"; "proxy65"; "smacks"; "email"; "bookmarks"; "admin_shell";
	"restricted_users"; "admin_blocklist"; "account_activity"; "protect_last_admin"; "c2s_limit_sessions";
	"spam_reporting"; "server_contact_info"; "http_files";
	"invites"; "invites_adhoc"; "invites_api"; "invites_register"; "invites_bootstrap";
	"firewall"; "groups_internal"; "http_oauth2"; "http_admin_api"; "rest"; "measure_process";
}

max_resources = Lua.tonumber(ENV_FAMILY_MAX_USER_CLIENTS) or 10
registration_watchers = {}
contact_info = {
	abuse = ENV_FAMILY_ABUSE_EMAIL and {"mailto:"..ENV_FAMILY_ABUSE_EMAIL} or nil;
}
http_ports = { ENV_FAMILY_TWEAK_HTTP_PORT or 5280 }
http_interfaces = split(ENV_FAMILY_TWEAK_HTTP_INTERFACE or "127.0.0.1,::1")
https_ports = {};
c2s_direct_tls_ports = { 5223 }
tls_profile = ENV_FAMILY_TLS_PROFILE or "modern"
allow_registration = true
registration_invite_only = true
password_policy = { length = 10; }
enforce_client_ids = ENV_FAMILY_TWEAK_REQUIRE_SASL2 == "1"
deny_user_invites_by_roles = { "prosody:restricted" }
custom_roles = { { name = "prosody:restricted"; priority = 15 } }
invites_page = ENV_FAMILY_INVITE_URL or ("https://"..DOMAIN.."/invite/{invite.token}/");
invites_bootstrap_ttl = Lua.tonumber(ENV_FAMILY_BOOTSTRAP_TTL or (28 * 86400))
groups_muc_host = "groups."..DOMAIN
oauth2_registration_key = FileLine("/family/prosody/oauth2-registration-secret")
c2s_require_encryption = true
add_permissions = {
	["prosody:registered"] = {
		"xmpp:federate";
	};
}
archive_expires_after = ("%dd"):format(RETENTION_DAYS)
use_ipv6 = (ENV_FAMILY_TWEAK_IPV6 ~= "0")
log = {
	[ENV_FAMILY_LOGLEVEL or "info"] = "*stdout"
}
authentication = "internal_hashed"
authorization = "internal"
disable_sasl_mechanisms = { "PLAIN", "OAUTHBEARER" }

if ENV_FAMILY_TWEAK_STORAGE == "sqlite" then
	storage = "sql"
	sql = {
		driver = "SQLite3";
		database = "/family/prosody/prosody.sqlite";
	}
else
	storage = "internal"
end

if ENV_FAMILY_TWEAK_PROMETHEUS == "1" then
	statistics_interval = "manual"
else
	statistics_interval = 60
end

if ENV_FAMILY_TWEAK_DNSSEC == "1" then
	Lua.assert(Lua.require"lunbound".new{ resolvconf = true }:resolve ".".secure, "not DNSSEC-capable");
end

site_name = ENV_FAMILY_SITE_NAME or DOMAIN
http_external_url = "https://"..DOMAIN.."/"

if ENV_FAMILY_TWEAK_TURNSERVER ~= "0" or ENV_FAMILY_TWEAK_TURNSERVER_DOMAIN then
	modules_enabled: append {
		"turn_external";
	}
	turn_external_host = ENV_FAMILY_TWEAK_TURNSERVER_DOMAIN or DOMAIN
	turn_external_secret = ENV_FAMILY_TWEAK_TURNSERVER_SECRET or FileLine("/family/prosody/turn-auth-secret-v2")
end

isolate_except_domains = { "push.example.net", "push-ios.example.net" }

VirtualHost (DOMAIN)
	authentication = "internal_hashed"
	contact_uri = "https://" .. DOMAIN .. "/"

	modules_enabled = {}
	firewall_scripts = {}

	if ENV_FAMILY_TWEAK_S2S_STATUS == "1" then
		modules_enabled: append {
			"s2s_status";
		}
	end

	if ENV_FAMILY_TWEAK_RESTRICTED_USERS_V2 == "1" then
		firewall_scripts: append {
			"/etc/prosody/firewall/restricted_users.pfw";
		}
	else
		modules_enabled: append {
			"restrict_federation";
		}
	end

Component ("groups."..DOMAIN) "muc"
	modules_enabled = {
		"muc_mam";
		"muc_local_only";
		"restricted_users";
	}
	if ENV_FAMILY_TWEAK_S2S_STATUS == "1" then
		modules_enabled: append {
			"s2s_status";
		}
	end
	restrict_room_creation = "local"

Component ("share."..DOMAIN) "http_file_share"
	http_file_share_size_limit = (1024 * 1024 * 100) + 16
	if UPLOAD_STORAGE_GB then
		http_file_share_global_quota = 1024 * 1024 * 1024 * UPLOAD_STORAGE_GB
	end
	modules_disabled = {
		"s2s";
	}

Include (ENV_FAMILY_TWEAK_EXTRA_CONFIG or "/family/prosody/*.cfg.lua")
