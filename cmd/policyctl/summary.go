package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/postern-im/postern/api"
)

// maxDetailed is the largest number of changing tenants for which every change is
// shown without --details.
const maxDetailed = 20

// A planSummary counts the changes in plans.
type planSummary struct {
	tenants, added, changed, removed int
	kinds                            map[string]int // the number of changes by op and type
	warnings, warned                 int
	ends, loses, gains               api.EffectiveAccounts
}

func summaryOf(plans []planned) planSummary {
	s := planSummary{tenants: len(plans), kinds: map[string]int{}}
	for i := range plans {
		p := &plans[i]
		switch {
		case !p.changes():
			continue
		case p.removes:
			s.removed++
		case p.reply.TenantVersion == 0:
			s.added++
		default:
			s.changed++
		}
		for _, c := range p.reply.Changes {
			s.kinds[c.Op+" "+strings.ReplaceAll(c.Type, "_", " ")]++
		}
		if n := len(located(p.notes, p.reply.Warnings)); n > 0 {
			s.warnings, s.warned = s.warnings+n, s.warned+1
		}
		for _, e := range p.reply.Effective.Sessions {
			count(&s.ends, e.EffectiveAccounts)
		}
		for _, g := range p.reply.Effective.Permissions {
			if len(g.Lose) > 0 {
				count(&s.loses, g.EffectiveAccounts)
			}
			if len(g.Gain) > 0 {
				count(&s.gains, g.EffectiveAccounts)
			}
		}
	}
	return s
}

// count adds more to sum. It does not keep the members' names, because a summary
// shows none.
func count(sum *api.EffectiveAccounts, more api.EffectiveAccounts) {
	sum.MemberCount += more.MemberCount
	sum.Domains = append(sum.Domains, more.Domains...)
}

// changing returns the number of tenants that change.
func (s *planSummary) changing() int { return s.added + s.changed + s.removed }

// write writes the summary: how many tenants are new, changed or removed, how
// many changes there are of each kind, and how many accounts are affected.
func (s *planSummary) write(w io.Writer) {
	fmt.Fprintf(w, "%d of %d tenants to change: %d new, %d changed, %d removed\n", s.changing(), s.tenants, s.added, s.changed, s.removed)
	kinds := slices.SortedFunc(maps.Keys(s.kinds), func(a, b string) int {
		return cmp.Or(s.kinds[b]-s.kinds[a], strings.Compare(a, b))
	})
	for _, kind := range kinds {
		fmt.Fprintf(w, "  %6d  %s\n", s.kinds[kind], clean(kind))
	}
	for _, line := range []struct {
		what string
		who  api.EffectiveAccounts
	}{{"sessions end", s.ends}, {"permissions are lost", s.loses}, {"permissions are gained", s.gains}} {
		if line.who.MemberCount+len(line.who.Domains) > 0 {
			fmt.Fprintf(w, "  %s: %s, and every other account of %s\n", line.what, plural(line.who.MemberCount, "member"), plural(len(line.who.Domains), "domain"))
		}
	}
	if s.warnings > 0 {
		fmt.Fprintf(w, "  %s about %s\n", plural(s.warnings, "warning"), plural(s.warned, "tenant"))
	}
}

// writePlans writes the plans. If more than maxDetailed tenants change, it writes
// a summary first, and the plans only if details is set. Tenants that will be
// removed are always named.
func writePlans(w io.Writer, plans []planned, details bool) {
	s := summaryOf(plans)
	if s.changing() == 0 {
		match := "match their files"
		if len(plans) == 1 {
			match = "matches its file"
		}
		fmt.Fprintf(w, "nothing to change: %s %s\n", plural(len(plans), "tenant"), match)
		return
	}
	if s.changing() > maxDetailed {
		s.write(w)
		if !details {
			for _, id := range removedTenants(plans) {
				fmt.Fprintf(w, "  - tenant removed: %s\n", clean(id))
			}
			fmt.Fprintln(w, "Give --details to see each change.")
			return
		}
		fmt.Fprintln(w)
	}
	for i := range plans {
		if plans[i].changes() {
			writePlan(w, &plans[i])
		}
	}
	fmt.Fprintf(w, "%d of %d tenants to change\n", s.changing(), len(plans))
}
