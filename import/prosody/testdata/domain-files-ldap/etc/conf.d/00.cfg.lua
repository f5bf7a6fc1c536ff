https_ports = {}
c2s_direct_tls_ports = { 5223 }
c2s_direct_tls_ssl = {
    certificate = "/etc/app/certs/example.org/crt.pem";
    key = "/etc/app/certs/example.org/key.pem";
}
