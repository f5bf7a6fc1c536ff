package projections

import (
	"math"

	"github.com/postern-im/postern/events"
)

// firstSettings is the number of settings that are always encoded. They have the
// lowest numbers. Settings that were added later are encoded only if they are
// not 0. So the encoding of a tenant that does not use a new setting stays the
// same, and a snapshot older than the setting can be read.
const firstSettings = 2

// laterSettings lists the settings with numbers above first that are not 0. The
// list has the number and then the value of each.
func laterSettings(s events.Settings, first uint64) []uint64 {
	var list []uint64
	for setting := range events.AllSettings() {
		if v := setting.Of(s); setting.Number > first && v != 0 {
			list = append(list, setting.Number, uint64(v))
		}
	}
	return list
}

// settings writes a tenant's settings. It writes the values of the settings with
// numbers up to first without their numbers, then the list later unless it is
// empty.
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

// settings reads a tenant's settings. later says whether a list of later settings
// follows the first settings.
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
			d.fail("setting %d is out of order after %d", n, last)
		}
		last = n
		for setting := range events.AllSettings() {
			if setting.Number == n {
				if s = d.setting(setting, s); setting.Of(s) == 0 {
					d.fail("later setting %d is 0", n)
				}
				return
			}
		}
		d.fail("no setting has number %d", n)
	})
	if last == 0 {
		d.fail("an empty list of later settings")
	}
	return s
}

// setting reads the value of one setting and returns s with it.
func (d *decoder) setting(setting events.Setting, s events.Settings) events.Settings {
	v := uint8(d.number(math.MaxUint8))
	if !setting.Valid(v) {
		d.fail("%s has no value %d", setting.Name, v)
		return s
	}
	return setting.In(s, v)
}
