VirtualHost "example.net"
  enable = true
  authentication = "ldap"
  ldap_base = "ou=users,dc=example,dc=net"
  ldap_filter = "(&(|(mail=$user@$host)(uid=$user))(permission=cn=app.main,ou=permission,dc=example,dc=net))"
  modules_enabled = { "mam"; "cloud_notify"; "smacks"; "turn_external"; "bosh"; "websocket"; "bookmarks"; }
  modules_disabled = {
    "register";
  }
  disco_items = {
    { "muc.example.net" },
    { "xmpp-upload.example.net" },
  };
  turn_external_secret = "not-a-secret"
Component "muc.example.net" "muc"
  modules_enabled = { "vcard_muc"; "muc_mam"; }
  muc_event_rate = 0.5
Component "pubsub.example.net" "pubsub"
  unrestricted_node_creation = true
Component "xmpp-upload.example.net" "http_upload"
  http_upload_file_size_limit = 50 * 1024 * 1024
