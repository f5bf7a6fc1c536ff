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
	"cmp"
	"fmt"
	"math"
	"slices"
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
	accounts := map[string][]Write{} // in the order of their beginning
	for _, w := range h.Writes {
		accounts[w.Account] = append(accounts[w.Account], w)
	}
	for _, writes := range accounts {
		slices.SortFunc(writes, func(a, b Write) int { return cmp.Compare(a.Began, b.Began) })
	}
	for _, s := range h.Stanzas {
		if !s.Passed {
			continue
		}
		writes := accounts[s.Account]
		for i, w := range writes {
			if w.Allowed || w.Acked == Unknown || s.Decided-bound <= w.Acked {
				continue
			}
			if !allowedAfter(writes, i, s) {
				list = append(list, Violation{s, w, s.Decided - w.Acked})
				break
			}
		}
	}
	return list
}

// allowedAfter reports whether a command may have allowed the stanza after the
// revocation writes[i]. Nearly always the next command has.
func allowedAfter(writes []Write, i int, s Stanza) bool {
	allows := func(w Write) bool { return w.Allowed && w.Acked > writes[i].Began && w.Began < s.Decided }
	return slices.ContainsFunc(writes[i+1:], allows) || slices.ContainsFunc(writes[:i], allows)
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

// model is the register of an account that has a value at the beginning.
func model(value bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return value },
		Step: func(state, input, _ any) (bool, any) {
			o := input.(operation)
			if o.write {
				return true, o.value
			}
			return o.value == state.(bool), state
		},
		Equal: func(a, b any) bool { return a == b },
	}
}

// maxReads bounds the stanzas of one account between two of its commands. The
// search can take exponential time, and the first and the last stanzas say most.
const maxReads = 8

// Linearizable reports whether the history has an explanation in which each
// decision is at most bound old. It gives up, with an error, when the search takes
// longer than within.
func (h *History) Linearizable(bound, within time.Duration) (bool, error) {
	deadline := time.Now().Add(within)
	accounts := map[string]*History{}
	of := func(account string) *History {
		if accounts[account] == nil {
			accounts[account] = &History{}
		}
		return accounts[account]
	}
	for _, w := range h.Writes {
		of(w.Account).Writes = append(of(w.Account).Writes, w)
	}
	for _, s := range h.sample() {
		of(s.Account).Stanzas = append(of(s.Account).Stanzas, s)
	}
	for account, h := range accounts {
		pieces, left := h.cut(bound)
		if left > 0 {
			return false, fmt.Errorf("%d stanzas of %s were decided so late that no piece of the history has them whole", left, account)
		}
		for _, p := range pieces {
			left := time.Until(deadline)
			if left <= 0 {
				return false, fmt.Errorf("the search took longer than %v", within)
			}
			switch result, _ := porcupine.CheckOperationsVerbose(model(p.value), p.operations(bound), left); result {
			case porcupine.Ok:
			case porcupine.Illegal:
				return false, nil
			default:
				return false, fmt.Errorf("the search took longer than %v", within)
			}
		}
	}
	return true, nil
}

// A piece is a part of the history of one account, and the value at its beginning.
type piece struct {
	History
	value bool
}

func (p *piece) operations(bound time.Duration) (all []porcupine.Operation) {
	for i, w := range p.Writes {
		all = append(all, porcupine.Operation{
			ClientId: i, Input: operation{w.Account, true, w.Allowed}, Call: int64(w.Began), Return: int64(w.Acked),
		})
	}
	for i, s := range p.Stanzas {
		all = append(all, porcupine.Operation{
			ClientId: len(p.Writes) + i, Input: operation{s.Account, false, s.Passed},
			Call: int64(s.Sent - bound), Return: int64(s.Decided),
		})
	}
	return all
}

const (
	// pieceBounds is about the length of a piece, in bounds.
	pieceBounds = 6
	// overlapBounds is how far a piece reaches into the one before. A decision that
	// took less than overlapBounds-1 bounds is whole in one of them.
	overlapBounds = 2
)

// cut cuts the history of one account into pieces, because the search takes far more
// than twice the time for twice the history. A piece begins when a command was
// acknowledged and the next one has not begun, so the value is known there. It ends at
// such a time too: nothing after it can explain a decision before it. left is the number
// of stanzas that are in no piece.
func (h *History) cut(bound time.Duration) (pieces []piece, left int) {
	slices.SortFunc(h.Writes, func(a, b Write) int { return cmp.Compare(a.Began, b.Began) })
	quiet := func(i int) bool { // the value after command i is known
		w := h.Writes[i]
		return w.Acked != Unknown && (i == len(h.Writes)-1 || w.Acked <= h.Writes[i+1].Began)
	}
	found := make([]bool, len(h.Stanzas))
	first, start, value := 0, time.Duration(math.MinInt64), true
	for whole := false; !whole; {
		end, after := time.Duration(math.MaxInt64), len(h.Writes)
		next, nextStart := -1, time.Duration(0)
		from := max(start, 0)
		for i := first; i < len(h.Writes); i++ {
			if !quiet(i) {
				break // commands from here on are in one piece, to the end
			}
			if at := h.Writes[i].Acked; at >= from+pieceBounds*bound {
				end, after = at, i+1
				break
			}
		}
		for i := first; i < after && end != math.MaxInt64; i++ {
			if at := h.Writes[i].Acked; at <= end-overlapBounds*bound {
				next, nextStart = i, at
			}
		}
		whole = next < 0
		if whole {
			end, after = math.MaxInt64, len(h.Writes)
		}
		p := piece{History{Writes: h.Writes[first:after]}, value}
		for i, s := range h.Stanzas {
			if s.Sent-bound >= start && s.Decided <= end {
				found[i] = true
				p.Stanzas = append(p.Stanzas, s)
			}
		}
		pieces = append(pieces, p)
		if !whole {
			first, start, value = next+1, nextStart, h.Writes[next].Allowed
		}
	}
	for _, ok := range found {
		if !ok {
			left++
		}
	}
	return pieces, left
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
