package objects

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"biplane.dev/biplane/internal/fault"
)

// The two folders of a file bucket. They share a file system, so that a finished upload is moved in by one rename.
const (
	objectsFolder  = "objects"
	incomingFolder = "incoming"
)

// placeTries is how often Put makes the folders of a key again when a Delete elsewhere took them away as empty.
const placeTries = 100

// copyBuffer is the piece, in bytes, in which content is read; a cancelled context is noticed between pieces.
const copyBuffer = 64 << 10

// FileOptions are the choices of a file bucket.
type FileOptions struct {
	// Sync makes Put return only when the object survives a loss of power. Without it an object survives the end of any process.
	Sync bool
}

// File is a Bucket in a folder. The URI of an object is its bare absolute path, so tasks read and write the files directly,
// too; what they write in place is not atomic, and its reader must wait for the task's end.
//
// All access goes through os.Root, or a call of the kernel with the same bounds: whatever links a task puts into the folder, none leads the plane out of it.
type File struct {
	root    *os.Root
	folder  *os.File // the same folder
	base    string   // absolute path of the objects, without symbolic links
	aliases []string // other spellings of base that are accepted
	sync    bool
	lock    *os.File
	digests digests
}

var _ Bucket = (*File)(nil)

// OpenFile opens the bucket in the folder dir and makes it when it is missing. The first to open it removes what an earlier life left half-written.
func OpenFile(dir string, options FileOptions) (*File, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("the bucket's folder: %w", err)
	}
	for _, folder := range []string{objectsFolder, incomingFolder} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			return nil, fmt.Errorf("make the bucket's folder: %w", err)
		}
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("the bucket's folder: %w", err)
	}
	root, err := os.OpenRoot(real)
	if err != nil {
		return nil, fmt.Errorf("open the bucket's folder: %w", err)
	}
	folder, err := os.Open(real)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the bucket's folder: %w", err), root.Close())
	}
	f := &File{root: root, folder: folder, base: filepath.Join(real, objectsFolder), sync: options.Sync}
	if alias := filepath.Join(dir, objectsFolder); alias != f.base {
		f.aliases = append(f.aliases, alias)
	}
	if err := f.clean(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// clean removes half-written objects, unless another process has the bucket open and may be writing them.
func (f *File) clean() error {
	lock, err := f.root.OpenFile("lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the bucket: %w", err)
	}
	f.lock = lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		stale, err := fs.ReadDir(f.root.FS(), incomingFolder)
		if err != nil {
			return fmt.Errorf("look for unfinished objects: %w", err)
		}
		for _, entry := range stale {
			if err := f.root.RemoveAll(path.Join(incomingFolder, entry.Name())); err != nil {
				return fmt.Errorf("remove an unfinished object: %w", err)
			}
		}
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock the bucket: %w", err)
	}
	return nil
}

// Close releases the folder. Readers that Get returned stay usable.
func (f *File) Close() error {
	err := errors.Join(f.root.Close(), f.folder.Close())
	if f.lock != nil {
		err = errors.Join(err, f.lock.Close())
	}
	return err
}

// URI is the absolute path of the object's file.
func (f *File) URI(key Key) string { return f.base + "/" + string(key) }

// Key is the key of a path below the bucket, by its letters alone: whether anything is there, and whether a link on the way leads
// out, is found when the object is opened.
func (f *File) Key(uri string) (Key, error) {
	const field = "uri"
	rest, inside := "", false
	for _, base := range append([]string{f.base}, f.aliases...) {
		if rest, inside = strings.CutPrefix(uri, base+"/"); inside {
			break
		}
	}
	if !inside {
		return "", fault.Invalid(field, "%q is not an address in this data plane's bucket; those start with %q", uri, f.base+"/")
	}
	key, err := ParseKey(strings.TrimSuffix(rest, "/"))
	if err != nil {
		var invalid *fault.Fault
		if errors.As(err, &invalid) {
			return "", fault.Invalid(field, "%s", invalid.Message)
		}
		return "", err
	}
	return key, nil
}

// Put writes content beside the objects and moves it in at once.
func (f *File) Put(ctx context.Context, key Key, content io.Reader, options PutOptions) (info Info, err error) {
	// A key that cannot take an object is refused before gigabytes are read for it.
	if err := f.refuseFolder(key); err != nil {
		return Info{}, err
	}
	name := path.Join(incomingFolder, rand.Text())
	file, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return Info{}, f.problem(err, key, "store")
	}
	kept := false
	defer func() {
		if file != nil {
			_ = file.Close() // a failure is on its way already
		}
		if !kept {
			_ = f.root.Remove(name) // what stays after a failed removal goes when the bucket is opened next
		}
	}()
	info, err = f.fill(ctx, file, key, content, options)
	if err != nil {
		return Info{}, err
	}
	closing := file
	file = nil
	if err := closing.Close(); err != nil {
		return Info{}, f.problem(err, key, "store")
	}
	if kept, err = f.place(name, key, options.Absent); err != nil {
		if errors.Is(err, fs.ErrExist) && options.Absent {
			return f.compare(ctx, key, info)
		}
		return Info{}, f.problem(err, key, "store")
	}
	if f.sync {
		if err := f.syncFolder(path.Dir(f.name(key))); err != nil {
			return Info{}, f.problem(err, key, "store")
		}
	}
	return info, nil
}

// fill copies content into file and holds it against the promises.
func (f *File) fill(ctx context.Context, file *os.File, key Key, content io.Reader, options PutOptions) (Info, error) {
	digest := md5.New()
	if options.Size >= 0 {
		content = io.LimitReader(content, options.Size+1) // one more, to notice a writer that sends too much
	}
	var size int64
	buffer := make([]byte, copyBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return Info{}, err
		}
		n, readErr := content.Read(buffer)
		if n > 0 {
			if _, err := file.Write(buffer[:n]); err != nil {
				return Info{}, f.problem(err, key, "store")
			}
			digest.Write(buffer[:n])
			size += int64(n)
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return Info{}, fmt.Errorf("read the content of object %q: %w", key, readErr)
		}
	}
	info := Info{Key: key, Size: size, MD5: [16]byte(digest.Sum(nil))}
	if options.Size >= 0 && size != options.Size {
		if size > options.Size {
			return Info{}, fault.Invalid("content", "is longer than the %d bytes that were announced", options.Size)
		}
		return Info{}, fault.Invalid("content", "has %d bytes, not the %d that were announced", size, options.Size)
	}
	if options.MD5 != nil && *options.MD5 != info.MD5 {
		return Info{}, fault.Invalid("content", "has the MD5 %x, not the announced %x: it was damaged on the way or is another file", info.MD5, *options.MD5)
	}
	if f.sync {
		if err := file.Sync(); err != nil {
			return Info{}, f.problem(err, key, "store")
		}
	}
	stat, err := file.Stat()
	if err != nil {
		return Info{}, f.problem(err, key, "store")
	}
	info.Modified = stat.ModTime()
	f.digests.remember(file, stat, info.MD5)
	return info, nil
}

// place moves the finished file to its key. moved says that nothing is left to remove at its old name.
func (f *File) place(name string, key Key, absent bool) (moved bool, err error) {
	target := f.name(key)
	for range placeTries {
		// Folders that vanish under MkdirAll make it say "exists" for what it saw, and "not exists" for what it missed then.
		err = f.root.MkdirAll(path.Dir(target), 0o700)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			if stat, statErr := f.root.Stat(path.Dir(target)); statErr == nil && !stat.IsDir() {
				err = syscall.ENOTDIR
				break
			}
			continue
		}
		if err == nil && absent {
			err = f.root.Link(name, target) // unlike a rename it never replaces
		} else if err == nil {
			err = f.root.Rename(name, target)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		f.prune(path.Dir(target))
		return false, err
	}
	return !absent, nil
}

// compare decides a Put with Absent on a key that is taken.
func (f *File) compare(ctx context.Context, key Key, new Info) (Info, error) {
	old, err := f.Stat(ctx, key)
	if fault.Is(err, fault.KindNotFound) {
		if err := f.refuseFolder(key); err != nil {
			return Info{}, err
		}
		return Info{}, fault.New(fault.KindUnavailable, "object %q was removed while it was compared; try again", key)
	}
	if err != nil {
		return Info{}, err
	}
	if old.Size != new.Size || old.MD5 != new.MD5 {
		return Info{}, fault.New(fault.KindExists, "object %q exists with other content (%d bytes, MD5 %x)", key, old.Size, old.MD5)
	}
	return old, nil
}

func (f *File) refuseFolder(key Key) error {
	if stat, err := f.root.Stat(f.name(key)); err == nil && stat.IsDir() {
		return f.problem(syscall.EISDIR, key, "store")
	}
	return nil
}

// Get opens an object.
func (f *File) Get(_ context.Context, key Key, offset, length int64) (io.ReadCloser, Info, error) {
	file, stat, err := f.open(key)
	if err != nil {
		return nil, Info{}, err
	}
	info := Info{Key: key, Size: stat.Size(), Modified: stat.ModTime()}
	info.MD5, _ = f.digests.recall(file, stat)
	if offset < 0 || offset > info.Size {
		_ = file.Close()
		return nil, Info{}, fault.Invalid("offset", "%d lies outside of object %q, which has %d bytes", offset, key, info.Size)
	}
	if length < 0 || length > info.Size-offset {
		length = info.Size - offset
	}
	section := struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(file, offset, length), file}
	return section, info, nil
}

// Stat describes an object. The MD5 of a file that a task wrote itself is computed once, then remembered.
func (f *File) Stat(ctx context.Context, key Key) (Info, error) {
	file, stat, err := f.open(key)
	if err != nil {
		return Info{}, err
	}
	defer file.Close()
	info := Info{Key: key, Size: stat.Size(), Modified: stat.ModTime()}
	if sum, ok := f.digests.recall(file, stat); ok {
		info.MD5 = sum
		return info, nil
	}
	digest := md5.New()
	buffer := make([]byte, copyBuffer)
	info.Size = 0
	for {
		if err := ctx.Err(); err != nil {
			return Info{}, err
		}
		n, err := file.Read(buffer)
		digest.Write(buffer[:n])
		info.Size += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return Info{}, f.problem(err, key, "read")
		}
	}
	info.MD5 = [16]byte(digest.Sum(nil))
	// A file that changed while it was read, or so lately that its next change could carry the same time, is not remembered.
	if after, err := file.Stat(); err == nil && after.Size() == info.Size && after.ModTime().Equal(stat.ModTime()) && time.Since(stat.ModTime()) > settled {
		f.digests.remember(file, stat, info.MD5)
	}
	return info, nil
}

// open refuses whatever is not a plain file. Without waiting: a task may have put a named pipe there.
func (f *File) open(key Key) (*os.File, fs.FileInfo, error) {
	file, err := openBelow(f.root, f.folder, f.name(key), os.O_RDONLY|syscall.O_NONBLOCK)
	if err != nil {
		return nil, nil, f.problem(err, key, "read")
	}
	stat, err := file.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, f.problem(err, key, "read")
	}
	return file, stat, nil
}

// Delete removes an object, and the folders that it leaves empty: a folder without objects does not exist in a bucket.
func (f *File) Delete(_ context.Context, key Key) error {
	name := f.name(key)
	stat, err := f.root.Lstat(name)
	if err == nil && stat.IsDir() {
		return nil // a folder is no object
	}
	if err == nil {
		err = f.root.Remove(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return f.problem(err, key, "delete")
	}
	f.prune(path.Dir(name))
	return nil
}

// prune removes folder and those above it as long as they are empty. It must remove nothing else: what stands there may by now be an
// object, or a link.
func (f *File) prune(folder string) {
	for ; folder != objectsFolder; folder = path.Dir(folder) {
		parent, err := f.root.OpenFile(path.Dir(folder), os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return
		}
		err = unix.Unlinkat(int(parent.Fd()), path.Base(folder), unix.AT_REMOVEDIR)
		_ = parent.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}

func (f *File) syncFolder(name string) error {
	folder, err := f.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func (f *File) name(key Key) string { return objectsFolder + "/" + string(key) }

// problem gives an error of the file system the words and the kind for a user.
func (f *File) problem(err error, key Key, doing string) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &fault.Fault{Kind: fault.KindUnavailable, Cause: err,
			Message: fmt.Sprintf("cannot %s object %q: the disk of the data plane's bucket is full; make room there and try again", doing, key)}
	case doing == "store" && (errors.Is(err, syscall.EISDIR) || errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY)):
		return &fault.Fault{Kind: fault.KindExists, Cause: err, Message: fmt.Sprintf("cannot store object %q: there are objects below that key", key)}
	case doing == "store" && errors.Is(err, syscall.ENOTDIR):
		return &fault.Fault{Kind: fault.KindExists, Cause: err, Message: fmt.Sprintf("cannot store object %q: a part of that key is an object itself", key)}
	case doing != "store" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENXIO)):
		return fault.NotFound("object", string(key))
	case errors.Is(err, syscall.ENAMETOOLONG):
		return fault.Invalid("key", "is too long for the file system of the data plane's bucket")
	default:
		return fault.Wrap(err, fault.KindInternal, "cannot %s object %q in the data plane's bucket", doing, key)
	}
}
