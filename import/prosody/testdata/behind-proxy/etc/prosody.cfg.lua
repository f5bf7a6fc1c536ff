proxy_trusted_proxies = { "127.0.0.1", "::1", "172.30.0.0/16" }
proxy_port_mappings = {
    [5222] = "c2s",
    [5269] = "s2s"
}
c2s_ports = {}
s2s_ports = {}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
modules_enabled = {
    "roster"; "saslauth"; "tls"; "disco"; "dialback"; "pep"; "blocklist"; "carbons"; "smacks"; "csi_simple"; "mam"; "net_proxy"; "http";
    "admin_shell"; "admin_adhoc"; "bosh"; "register"; "ping"; "time"; "version"; "log_auth"; "c2s_conn_throttle"; "lastlog2";
}
sasl_mech_override = {
    ["PLAIN"] = function() return true; end;
}
http_default_host = "chat.example.org"
authentication = "internal_hashed"
VirtualHost "chat.example.org"
