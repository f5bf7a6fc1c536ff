package gateway

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// downgradeEvery is the minimum time between two warnings about one domain.
	downgradeEvery = time.Hour
	// maxDowngrades bounds the domains in told.
	maxDowngrades = 1024
)

// downgrades warns the operator about servers that send clients a hash of their
// SASL mechanisms (XEP-0474). The gateway withholds some mechanisms from the
// client. A client that checks the hash therefore takes the gateway for an
// attacker and does not log in.
type downgrades struct {
	logger *slog.Logger

	mu   sync.Mutex           // guards told
	told map[string]time.Time // domain → last warning
}

// tell warns about a domain, at most once in downgradeEvery.
func (d *downgrades) tell(domain string, withheld []string) {
	if !d.due(domain, time.Now()) {
		return
	}
	d.logger.Warn("clients that check the server's list of login mechanisms (XEP-0474) cannot log in: the gateway withholds some of the mechanisms from them",
		"domain", domain, "withheld", withheld[:min(len(withheld), 8)],
		"remedy", "reach the server without TLS on a private network, or turn the check off there: disable_sasl_scram_downgrade_protection: true in ejabberd, no mod_sasl_ssdp in Prosody")
}

// due reports whether a warning about a domain is due, and records it as given.
func (d *downgrades) due(domain string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if said, ok := d.told[domain]; ok && now.Sub(said) < downgradeEvery {
		return false
	}
	if len(d.told) >= maxDowngrades {
		clear(d.told)
	}
	d.told[domain] = now
	return true
}
