admins = { "root@chat.example.org" }
limits = {
    c2s   = { rate = "3kb/s";  burst = "2s"; };
    s2sin = { rate = "10kb/s"; burst = "5s"; };
}
log = "*syslog"

VirtualHost "chat.example.org"
    modules_enabled = {
        "admin_adhoc"; "announce"; "blocklist"; "carbons"; "dialback"; "disco"; "limits"; "mam"; "offline"; "pep"; "ping"; "posix";
        "private"; "register"; "register_limits", "roster"; "saslauth"; "smacks"; "tls"; "vcard"; "user_account_management";
        "watchregistrations"; "omemo_all_access";
    }
    allow_registration = true
    authentication = "internal_hashed"
    min_seconds_between_registrations = 86400
    ssl = {
        certificate = "/etc/prosody/certs/fullchain.pem";
        key = "/etc/prosody/certs/privkey.pem";
    }

 Component "muc.example.org" "muc"
    modules_enabled = { "disco"; "muc"; "muc_mam"; "ping"; "tls"; "vcard"; }
