package gateway

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// downgradeEvery is how often the warning about one domain is repeated.
	downgradeEvery = time.Hour
	// maxDowngrades bounds the domains that are remembered as warned of.
	maxDowngrades = 1024
)

// downgrades warn the operator of domains whose server has clients check its
// list of mechanisms (XEP-0474): such a client takes the gateway for an attacker
// and does not log in.
type downgrades struct {
	logger *slog.Logger

	mu   sync.Mutex // guards told
	told map[string]time.Time
}

// tell warns of a domain, at most once in downgradeEvery.
func (d *downgrades) tell(domain string, withheld []string) {
	if !d.due(domain, time.Now()) {
		return
	}
	d.logger.Warn("clients that check the server's list of login mechanisms (XEP-0474) cannot log in: the gateway does not show them all of it",
		"domain", domain, "withheld", withheld[:min(len(withheld), 8)],
		"remedy", "reach the server without TLS on a private network, or turn the check off there: disable_sasl_scram_downgrade_protection: true in ejabberd, no mod_sasl_ssdp in Prosody")
}

// due reports whether a domain is to be warned of now, and remembers that it was.
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
