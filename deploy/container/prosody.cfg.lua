-- A Prosody that only the gateways reach, inside the compose network.
interfaces = { "*" }
c2s_ports = { 15222 }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_hashed"
modules_enabled = { "roster", "saslauth", "disco", "ping", "carbons", "mam", "pep" }
modules_disabled = { "s2s", "tls" }
log = { info = "*console" }

data_path = "/var/lib/prosody"
VirtualHost "prosody.example"
