package projections

import (
	"math"

	"github.com/postern-im/postern/events"
)

// firstSettings is how many settings, by their numbers, the encoding of every
// tenant has. Settings that were added later are in it only where they are not
// 0. So a tenant that does not use a new setting keeps its encoding, and a
// snapshot from before there was the setting can be read.
const firstSettings = 2

// laterSettings are the numbers and values of the settings after the first
// ones that are not 0.
func laterSettings(s events.Settings, first uint64) []uint64 {
	var list []uint64
	for setting := range events.AllSettings() {
		if v := setting.Of(s); setting.Number > first && v != 0 {
			list = append(list, setting.Number, uint64(v))
		}
	}
	return list
}

// settings writes a tenant's settings: the first ones by their values alone,
// the later ones, if there are any, as a list.
func (e *encoder) settings(s events.Settings, first uint64, later []uint64) {
	for setting := range events.AllSettings() {
		if setting.Number <= first {
			e.number(uint64(setting.Of(s)))
		}
	}
	if len(later) == 0 {
		return
	}
	e.number(uint64(len(later) / 2))
	for _, n := range later {
		e.number(n)
	}
}

// settings reads them; later says whether there are later ones.
func (d *decoder) settings(first uint64, later bool) (s events.Settings) {
	for setting := range events.AllSettings() {
		if setting.Number <= first {
			s = d.setting(setting, s)
		}
	}
	if !later {
		return s
	}
	last := uint64(0)
	d.each(math.MaxUint8, func() {
		n := d.number(math.MaxUint64)
		if d.err == nil && n <= max(last, first) {
			d.fail("setting %d behind %d", n, last)
		}
		last = n
		for setting := range events.AllSettings() {
			if setting.Number == n {
				if s = d.setting(setting, s); setting.Of(s) == 0 {
					d.fail("a later setting of 0")
				}
				return
			}
		}
		d.fail("no setting has number %d", n)
	})
	if last == 0 {
		d.fail("no later setting")
	}
	return s
}

// setting reads the value of one setting into s.
func (d *decoder) setting(setting events.Setting, s events.Settings) events.Settings {
	v := uint8(d.number(math.MaxUint8))
	if !setting.Valid(v) {
		d.fail("%s has no value %d", setting.Name, v)
		return s
	}
	return setting.In(s, v)
}
