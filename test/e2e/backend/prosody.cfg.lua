-- A private Prosody for the end-to-end tests.
run_as_root = true
daemonize = false
pidfile = "{{.Dir}}/prosody.pid"
data_path = "{{.Dir}}/data"
certificates = "{{.Dir}}/certs"
admins = { {{range .Admins}}"{{.}}"; {{end}} }
log = { { levels = { min = "info" }, to = "file", filename = "{{.Dir}}/logs/prosody.log" } }

c2s_interfaces = { "{{.Host}}" }
c2s_ports = { {{.PlainPort}}, {{.StartTLSPort}} }
plugin_paths = { "{{.Dir}}/modules" }
-- For a gateway that begins each connection with a PROXY header.
test_proxy_interfaces = { "{{.Host}}" }
test_proxy_ports = { {{.ProxyPort}} }
c2s_direct_tls_interfaces = { "{{.Host}}" }
c2s_direct_tls_ports = { {{.DirectTLSPort}} }
http_interfaces = { "{{.Host}}" }
http_ports = { {{.HTTPPort}} }
https_ports = { }

-- For a gateway: no encryption, and PLAIN is allowed.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
ssl = { certificate = "{{.Cert}}", key = "{{.Key}}" }
c2s_direct_tls_ssl = { certificate = "{{.Cert}}", key = "{{.Key}}" }
authentication = "internal_hashed"
storage = "internal"
-- At its limit of 10,000 messages, an archive is rewritten for each new message. The
-- server then answers nobody for seconds. A test of half an hour sends more.
storage_archive_item_limit = 10000000

-- The server offers registration and stream management, so that tests can see
-- that a gateway does not pass on these offers.
allow_registration = true
registration_throttle_max = 1000000
registration_throttle_period = 1

modules_disabled = { "s2s" }
modules_enabled = {
	"roster"; "saslauth"; "tls"; "disco"; "private"; "vcard4"; "vcard_legacy"; "pep"; "bookmarks";
	"mam"; "carbons"; "blocklist"; "ping"; "offline"; "csi"; "csi_simple"; "smacks";
	"lastactivity"; "version"; "time"; "uptime"; "adhoc"; "admin_adhoc";
	"test_proxy"; "register_ibr"; "user_account_management"; "server_contact_info";
	{{- if .CloudNotify}} "cloud_notify"; {{- end}}
}
default_archive_policy = true
{{range .Domains}}
VirtualHost "{{.}}"
	disco_items = { { "muc.{{.}}" }, { "pubsub.{{.}}" }, { "upload.{{.}}" } }
Component "muc.{{.}}" "muc"
	modules_enabled = { "muc_mam", "ping", "vcard_muc" }
	muc_room_locking = false
	muc_log_by_default = true
Component "pubsub.{{.}}" "pubsub"
	autocreate_on_publish = true
Component "upload.{{.}}" "http_file_share"
	http_host = "{{$.Host}}"
{{end}}
