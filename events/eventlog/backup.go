package eventlog

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
)

// A backup is a folder. Its log/ is a complete, checked copy of a log; its file
// BACKUP names the log and the position of the copy. BACKUP is written last: a
// folder without it is not a backup. A copy keeps the log's id. Only a restore
// makes a new id, because from then on two histories can continue.
const (
	backupName   = "BACKUP"
	backupLog    = "log"
	backupFormat = 1

	// maxBackupFile bounds the manifest, which has a few lines.
	maxBackupFile = 4 << 10

	// restoring is the suffix of the folder into which a log is restored until
	// it is known to be good.
	restoring = ".restoring"
)

// ErrNotEmpty is the refusal to write into a folder that is not empty.
var ErrNotEmpty = errors.New("the folder is not empty")

// A Backup describes the content of a backup.
type Backup struct {
	Format   int             `json:"format"`
	LogID    string          `json:"log_id"`
	Position events.Position `json:"position"`
	Hash     string          `json:"hash"` // of the record there, in hex; empty at 0
	Time     time.Time       `json:"time"` // when the backup was made
}

// An Origin is a log from which another one was restored, or the log that Renew gave a
// new id, and the last position that both have in common.
type Origin struct {
	LogID    string
	Position events.Position
	Hash     [32]byte
	Time     time.Time // of the restore, or of Renew
}

const originSize = logIDLength + 8 + 32 + 8

func encodeOrigins(list []Origin) []byte {
	var b []byte
	for _, o := range list {
		b = append(append(b, o.LogID...), encodeHead(head{o.Position, o.Hash})...)
		b = binary.BigEndian.AppendUint64(b, uint64(o.Time.UnixMicro()))
	}
	return b
}

func decodeOrigins(b []byte) (list []Origin, err error) {
	if len(b)%originSize != 0 {
		return nil, errors.New("not a list of origins")
	}
	for ; len(b) > 0; b = b[originSize:] {
		h, err := decodeHead(b[logIDLength : logIDLength+8+32])
		if err != nil {
			return nil, err
		}
		micros := binary.BigEndian.Uint64(b[originSize-8:])
		list = append(list, Origin{string(b[:logIDLength]), h.position, h.hash, time.UnixMicro(int64(micros)).UTC()})
	}
	return list, nil
}

// A Progress is called during a long task. Of the current step, done of all units
// are complete.
type Progress func(step string, done, all uint64)

// Backup copies the log as it is now into a new or empty folder. It reads the
// copy back before it declares it a backup. Appends continue meanwhile. On the
// same file system the copy shares its files with the log until Pebble rewrites
// them, so damage to these files damages both. After an error, nothing is left
// that could be taken for a backup.
func (l *Log) Backup(ctx context.Context, dir string, progress Progress) (Backup, error) {
	if err := l.use(); err != nil {
		return Backup{}, err
	}
	defer l.users.Done()
	b, err := l.backup(ctx, dir, progress)
	if err != nil {
		return Backup{}, fmt.Errorf("eventlog: back up to %s: %w", dir, err)
	}
	return b, nil
}

func (l *Log) backup(ctx context.Context, dir string, progress Progress) (b Backup, err error) {
	if l.readOnly {
		return b, errReadOnly
	}
	if err := mustBeEmpty(l.fs, dir); err != nil {
		return b, err
	}
	if err := l.fs.MkdirAll(dir, 0o700); err != nil {
		return b, err
	}
	to := l.fs.PathJoin(dir, backupLog)
	defer func() {
		if err != nil {
			err = errors.Join(err, l.fs.RemoveAll(to))
		}
	}()
	progress("copying", 0, 1)
	if err := l.db.Checkpoint(to, pebble.WithFlushedWAL()); err != nil {
		return b, err
	}
	progress("copying", 1, 1)
	h, err := l.checkCopy(ctx, to, progress)
	if err != nil {
		return b, err
	}
	w, err := openHighWater(l.fs, to, nil)
	if err != nil {
		return b, err
	}
	// Written twice, so that both places hold it.
	if err := errors.Join(w.write(l.LogID(), h), w.write(l.LogID(), h), w.close(), syncFolder(l.fs, to)); err != nil {
		return b, err
	}
	b = Backup{Format: backupFormat, LogID: l.LogID(), Position: h.position, Time: time.Now().UTC().Truncate(time.Microsecond)}
	if h.position > 0 {
		b.Hash = hex.EncodeToString(h.hash[:])
	}
	return b, writeBackup(l.fs, dir, b)
}

// checkCopy reads and checks a copy of the log. When it returns, all commits of
// the copy are durable in the log too, so no backup holds a commit that the log
// loses.
func (l *Log) checkCopy(ctx context.Context, dir string, progress Progress) (head, error) {
	c, err := Open(Config{Dir: dir, FS: l.fs, ReadOnly: true, Logger: l.logger, Fatal: l.fatal})
	if err != nil {
		return head{}, err
	}
	h := c.head
	if c.LogID() != l.LogID() {
		err = errors.New("the copy has another log's id")
	}
	err = cmp.Or(err, l.settled(ctx))
	err = cmp.Or(err, c.verifyProgress(ctx, progress))
	return h, errors.Join(err, c.Close())
}

// settled returns when everything that has been written, by a running append or by
// Take, is durable. After a failed append it returns an error, because it will never be
// known whether that append is durable.
func (l *Log) settled(ctx context.Context) error {
	if err := l.lockWriting(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	failed := l.failed || l.lost
	l.mu.Unlock()
	l.unlockWriting()
	if failed {
		return events.ErrFailed
	}
	return l.Settle(ctx)
}

// verifyProgress verifies the log and reports its progress.
func (l *Log) verifyProgress(ctx context.Context, progress Progress) error {
	const each = 1024
	all := l.visible().position
	return l.VerifyEach(ctx, func(c *events.Commit) error {
		if c.Position%each == 0 || c.Position == all {
			progress("verifying", uint64(c.Position), uint64(all))
		}
		return nil
	})
}

// writeBackup writes the manifest, which makes a folder a backup.
func writeBackup(fsys vfs.FS, dir string, b Backup) error {
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	name := fsys.PathJoin(dir, backupName)
	f, err := fsys.Create(name+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(name+".tmp", name); err != nil {
		return err
	}
	return cmp.Or(syncFolder(fsys, dir), syncFolder(fsys, fsys.PathDir(dir)))
}

// ReadBackup reads the manifest of a backup. fsys nil means the disk.
func ReadBackup(fsys vfs.FS, dir string) (Backup, error) {
	fsys = cmp.Or(fsys, vfs.Default)
	var b Backup
	f, err := fsys.Open(fsys.PathJoin(dir, backupName))
	if errors.Is(err, fs.ErrNotExist) {
		return b, fmt.Errorf("eventlog: %s is not a backup: it has no file %s", dir, backupName)
	}
	if err != nil {
		return b, fmt.Errorf("eventlog: backup %s: %w", dir, err)
	}
	d := json.NewDecoder(io.LimitReader(f, maxBackupFile))
	d.DisallowUnknownFields()
	err = errors.Join(d.Decode(&b), f.Close())
	if err == nil && b.Format != backupFormat {
		err = fmt.Errorf("format %d is not %d", b.Format, backupFormat)
	}
	if err != nil {
		return b, fmt.Errorf("eventlog: backup %s: %s: %w", dir, backupName, err)
	}
	return b, nil
}

// OpenBackup opens a backup for reading and checks it against its manifest.
func OpenBackup(c Config) (*Log, Backup, error) {
	b, err := ReadBackup(c.FS, c.Dir)
	if err != nil {
		return nil, b, err
	}
	from := c.Dir
	c.Dir, c.ReadOnly = cmp.Or(c.FS, vfs.Default).PathJoin(c.Dir, backupLog), true
	l, err := Open(c)
	if err != nil {
		return nil, b, err
	}
	if err := l.matches(b); err != nil {
		return nil, b, errors.Join(fmt.Errorf("eventlog: backup %s: %w", from, err), l.Close())
	}
	return l, b, nil
}

// matches compares a copy with its manifest.
func (l *Log) matches(b Backup) error {
	hash := ""
	if l.head.position > 0 {
		hash = hex.EncodeToString(l.head.hash[:])
	}
	if l.logID != b.LogID || l.head.position != b.Position || hash != b.Hash {
		return fmt.Errorf("it holds log %s up to %d; its %s says log %s up to %d, or another record there",
			l.logID, l.head.position, backupName, b.LogID, b.Position)
	}
	return nil
}

// Restore creates a new log in c.Dir, which must be empty or missing, from a
// backup. The new log has the same commits, record by record, under a new log
// id, with the backup's log as an origin. c.Dir stays empty until everything
// has been copied, checked and made durable. If a restore is interrupted, the
// next one removes the folder that it left beside c.Dir. Snapshots are not
// restored, because they name their log.
func Restore(ctx context.Context, from string, c Config, progress Progress) (Backup, Origin, error) {
	b, o, err := restore(ctx, from, c, progress)
	if err != nil {
		return b, o, fmt.Errorf("eventlog: restore %s: %w", c.Dir, err)
	}
	return b, o, nil
}

// Restoring returns the folder of a log's restore that is running or was
// interrupted; see Restore.
func Restoring(dir string) string { return dir + restoring }

func restore(ctx context.Context, from string, c Config, progress Progress) (b Backup, o Origin, err error) {
	if c.Dir == "" || c.ReadOnly {
		return b, o, errors.New("no folder to write to given")
	}
	fsys := cmp.Or(c.FS, vfs.Default)
	if b, err = ReadBackup(fsys, from); err != nil {
		return b, o, err
	}
	if err := mustBeEmpty(fsys, c.Dir); err != nil {
		return b, o, err
	}
	tmp := c
	tmp.Dir = Restoring(c.Dir)
	if err := fsys.RemoveAll(tmp.Dir); err != nil {
		return b, o, err
	}
	if err := copyFolder(ctx, fsys, fsys.PathJoin(from, backupLog), tmp.Dir, progress); err != nil {
		return b, o, errors.Join(err, fsys.RemoveAll(tmp.Dir))
	}
	if o, err = becomeNew(ctx, tmp, b, progress); err != nil {
		return b, o, errors.Join(err, fsys.RemoveAll(tmp.Dir))
	}
	if err := fsys.Remove(c.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return b, o, err
	}
	if err := fsys.Rename(tmp.Dir, c.Dir); err != nil {
		return b, o, err
	}
	return b, o, syncFolder(fsys, fsys.PathDir(c.Dir))
}

// becomeNew checks a copy and turns it into a log with its own id.
func becomeNew(ctx context.Context, c Config, b Backup, progress Progress) (o Origin, err error) {
	read := c
	read.ReadOnly = true // damage must be found, not compacted
	l, err := Open(read)
	if err != nil {
		return o, err
	}
	err = cmp.Or(l.matches(b), l.verifyProgress(ctx, progress))
	if err := errors.Join(err, l.Close()); err != nil {
		return o, err
	}
	write := c
	write.Clustered = true // rename ends the copy's binding
	if l, err = Open(write); err != nil {
		return o, err
	}
	o, err = l.rename()
	if err := errors.Join(err, l.Close()); err != nil {
		return o, err
	}
	// The copied high-water mark names the old log, so it is removed. Open then
	// creates a new one.
	fsys := cmp.Or(c.FS, vfs.Default)
	if err := fsys.Remove(fsys.PathJoin(c.Dir, highWaterName)); err != nil {
		return o, err
	}
	if l, err = Open(c); err != nil {
		return o, err
	}
	return o, errors.Join(l.Close(), syncFolder(fsys, c.Dir))
}

// rename gives the log a new id, ends its binding to a cluster, and deletes the
// snapshots of the old id.
func (l *Log) rename() (Origin, error) {
	o := Origin{LogID: l.logID, Position: l.head.position, Hash: l.head.hash, Time: time.Now().UTC().Truncate(time.Microsecond)}
	b := l.db.NewBatch()
	defer b.Close()
	err := cmp.Or(
		b.Set([]byte(keyLogID), []byte(newLogID()), nil),
		b.Set([]byte(keyOrigins), encodeOrigins(append(l.Origins(), o)), nil),
		unbind(b),
		deleteSnapshots(b),
	)
	if err != nil {
		return o, err
	}
	return o, b.Commit(pebble.Sync)
}

// copyFolder copies the files of a folder and makes the copies durable.
func copyFolder(ctx context.Context, fsys vfs.FS, from, to string, progress Progress) error {
	names, err := fsys.List(from)
	if err != nil {
		return err
	}
	if err := fsys.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := fsys.Stat(fsys.PathJoin(from, name))
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%s is a folder; a log has none", fsys.PathJoin(from, name))
		}
		if err := vfs.Copy(fsys, fsys.PathJoin(from, name), fsys.PathJoin(to, name)); err != nil {
			return err
		}
		progress("copying", uint64(i+1), uint64(len(names)))
	}
	return syncFolder(fsys, to)
}

// mustBeEmpty refuses a folder that is not empty.
func mustBeEmpty(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: %s has %s in it", ErrNotEmpty, dir, names[0])
	}
	return nil
}
