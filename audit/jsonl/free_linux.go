package jsonl

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

func (f diskFile) free() (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return 0, fmt.Errorf("read the free space of the disk: %w", err)
	}
	if s.Blocks == 0 {
		return math.MaxUint64, nil // a file system that reports no size, such as /proc
	}
	return uint64(s.Frsize) * s.Bavail, nil
}
