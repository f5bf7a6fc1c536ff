s2s_insecure_domains = { "old.example.net" }
