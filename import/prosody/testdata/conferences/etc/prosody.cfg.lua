admins = { "focus@auth.meet.example.org", "bridge@auth.meet.example.org" }
unlimited_jids = { "focus@auth.meet.example.org", "bridge@auth.meet.example.org" }
plugin_paths = { "/prosody-plugins/", "/prosody-plugins-custom" }
muc_mapper_domain_base = "meet.example.org";
modules_disabled = { "s2s" }
consider_bosh_secure = true;

VirtualHost "meet.example.org"
    authentication = "token"
    app_id = "example"
    app_secret = "not-a-secret"
    allow_empty_token = false
    modules_enabled = { "bosh"; "websocket"; "smacks"; "pubsub"; "ping"; "speakerstats"; "muc_lobby_rooms"; "muc_breakout_rooms"; }
    main_muc = "muc.meet.example.org"
    c2s_require_encryption = false

VirtualHost "guest.meet.example.org"
    authentication = "anonymous"
    c2s_require_encryption = false

VirtualHost "auth.meet.example.org"
    modules_enabled = { "limits_exception"; }
    authentication = "internal_hashed"

Component "internal-muc.meet.example.org" "muc"
    storage = "memory"
    modules_enabled = { "ping"; }

Component "muc.meet.example.org" "muc"
    storage = "memory"
    modules_enabled = { "muc_meeting_id"; "token_verification"; "muc_domain_mapper"; }

Component "focus.meet.example.org" "client_proxy"
    target_address = "focus@auth.meet.example.org"

Component "speakerstats.meet.example.org" "speakerstats_component"
    muc_component = "muc.meet.example.org"
