// Package history checks the promise of a cluster against what clients and
// administrators saw.
//
// A history has the commands that allowed or forbade an account to write, and the
// stanzas that the account sent. The package checks it in two ways. OneSided looks
// at each stanza that was handed over, and needs no search. Linearizable searches
// for an order of all operations that explains the answers, and so also sees a
// permission that was given and is not in force. Both know a bound: a decision may
// be based on a state that is older by so much.
//
// The package does no I/O. Times are of one clock.
package history

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// Unknown is the time of an answer that never came.
const Unknown = time.Duration(math.MaxInt64)

// A Write is a command that allows or forbids an account to write.
type Write struct {
	Account string
	Allowed bool
	// Began is when the command was first sent. Acked is when it was acknowledged,
	// or Unknown: it may then take effect at any time from Began on.
	Began, Acked time.Duration
}

// A Stanza is a stanza that an account sent and that was decided about.
type Stanza struct {
	Account, ID string
	// Sent is when the client sent it. Decided is when its receiver had it, or the
	// client its refusal.
	Sent, Decided time.Duration
	Passed        bool
}

// A History is everything that happened. At its beginning every account may write.
type History struct {
	Writes  []Write
	Stanzas []Stanza
}

// A Violation is a stanza that was handed over too late after a revocation.
type Violation struct {
	Stanza Stanza
	Revoke Write
	Late   time.Duration // after the acknowledgement
}

func (v Violation) Error() string {
	return fmt.Sprintf("stanza %s of %s, sent at %v, was handed over at %v, %v after the revocation that was acknowledged at %v",
		v.Stanza.ID, v.Stanza.Account, v.Stanza.Sent, v.Stanza.Decided, v.Late, v.Revoke.Acked)
}

// OneSided returns the stanzas that were handed over more than bound after the
// acknowledgement of a revocation. A stanza is no violation if a command that may
// be ordered after the revocation, and that began before the stanza was handed
// over, allowed it.
func (h *History) OneSided(bound time.Duration) (list []Violation) {
	for _, s := range h.Stanzas {
		if !s.Passed {
			continue
		}
		for _, w := range h.Writes {
			if w.Allowed || w.Account != s.Account || w.Acked == Unknown || s.Decided-bound <= w.Acked {
				continue
			}
			if !h.allowedAfter(w, s) {
				list = append(list, Violation{s, w, s.Decided - w.Acked})
				break
			}
		}
	}
	return list
}

// allowedAfter reports whether a command may have allowed the stanza after the
// revocation.
func (h *History) allowedAfter(revoke Write, s Stanza) bool {
	for _, w := range h.Writes {
		if w.Allowed && w.Account == s.Account && w.Acked > revoke.Began && w.Began < s.Decided {
			return true
		}
	}
	return false
}

// Latest returns the longest time from the acknowledgement of a revocation to a
// stanza that was handed over all the same.
func (h *History) Latest() (longest time.Duration) {
	for _, v := range h.OneSided(0) {
		longest = max(longest, v.Late)
	}
	return longest
}

// operation is the input of an operation of the model: one account's permission
// to write is a register.
type operation struct {
	account string
	write   bool
	value   bool // written, or read
}

// model is the register of each account.
var model = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		var parts [][]porcupine.Operation
		index := map[string]int{}
		for _, o := range all {
			account := o.Input.(operation).account
			at, ok := index[account]
			if !ok {
				at = len(parts)
				index[account] = at
				parts = append(parts, nil)
			}
			parts[at] = append(parts[at], o)
		}
		return parts
	},
	Init: func() any { return true },
	Step: func(state, input, _ any) (bool, any) {
		o := input.(operation)
		if o.write {
			return true, o.value
		}
		return o.value == state.(bool), state
	},
	Equal: func(a, b any) bool { return a == b },
}

// maxReads bounds the stanzas of one account between two of its commands. The
// search can take exponential time, and the first and the last stanzas say most.
const maxReads = 8

// Linearizable reports whether the history has an explanation in which each
// decision is at most bound old. It gives up, with an error, when the search takes
// longer than within.
func (h *History) Linearizable(bound, within time.Duration) (bool, error) {
	var all []porcupine.Operation
	for i, w := range h.Writes {
		all = append(all, porcupine.Operation{
			ClientId: i, Input: operation{w.Account, true, w.Allowed}, Call: int64(w.Began), Return: int64(w.Acked),
		})
	}
	for i, s := range h.sample() {
		all = append(all, porcupine.Operation{
			ClientId: len(h.Writes) + i, Input: operation{s.Account, false, s.Passed},
			Call: int64(s.Sent - bound), Return: int64(s.Decided),
		})
	}
	switch result, _ := porcupine.CheckOperationsVerbose(model, all, within); result {
	case porcupine.Ok:
		return true, nil
	case porcupine.Illegal:
		return false, nil
	default:
		return false, fmt.Errorf("the search took longer than %v", within)
	}
}

// sample leaves out stanzas in the middle of a run of equal answers of an account
// between two commands.
func (h *History) sample() (list []Stanza) {
	type run struct {
		account string
		passed  bool
		writes  int
	}
	count := map[run]int{}
	total := map[run]int{}
	of := func(s Stanza) run {
		r := run{account: s.Account, passed: s.Passed}
		for _, w := range h.Writes {
			if w.Account == s.Account && w.Began <= s.Sent {
				r.writes++
			}
		}
		return r
	}
	for _, s := range h.Stanzas {
		total[of(s)]++
	}
	for _, s := range h.Stanzas {
		r := of(s)
		if n := count[r]; n < maxReads/2 || n >= total[r]-maxReads/2 {
			list = append(list, s)
		}
		count[r]++
	}
	return list
}
