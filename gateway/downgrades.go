package gateway

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// downgradeEvery is how often it is said of one domain that clients cannot
	// log in because its server has them check its list of mechanisms.
	downgradeEvery = time.Hour
	// maxDowngrades bounds the domains of which that is remembered.
	maxDowngrades = 1024
)

// downgrades tell the operator of domains whose clients may take the gateway
// for an attacker (XEP-0474), each from time to time.
type downgrades struct {
	log *slog.Logger

	mu   sync.Mutex // guards told
	told map[string]time.Time
}

// tell says it of a domain, unless it has been said lately.
func (d *downgrades) tell(domain string, withheld []string) {
	if !d.due(domain, time.Now()) {
		return
	}
	d.log.Warn("clients that check the server's list of login mechanisms (XEP-0474) cannot log in: the gateway does not show them all of it",
		"domain", domain, "withheld", withheld[:min(len(withheld), 8)],
		"remedy", "reach the server without TLS on a private network, or turn the check off there: disable_sasl_scram_downgrade_protection: true in ejabberd, no mod_sasl_ssdp in Prosody")
}

// due takes note that it is said of a domain now, if it is time.
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
