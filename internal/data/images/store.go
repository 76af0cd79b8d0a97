package images

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"biplane.dev/biplane/internal/fault"
)

// SDKVersion is the version of the flyte package that an environment has when its image does not name another.
const SDKVersion = "2.12.1"

// parallelBuilds is how many environments one plane builds at a time; more would take the cores from running tasks.
const parallelBuilds = 2

// Config says where a Store keeps things and with what it builds them.
type Config struct {
	State   string   // folder of this plane for recipes and tags, used by one process at a time; empty: base environments only
	Cache   string   // folder for environments and downloads, shared by planes; empty: DefaultCache
	Python  string   // interpreter of the base environment, a path or a name on PATH; empty: python3
	UV      string   // uv to build with; empty: one of UVVersion is installed into the cache
	Environ []string // the plane's environment, of which builds see a listed few variables; nil: os.Environ
	// Downloads is how many bytes of downloaded and built packages Collect leaves in the cache; 0: 5 GiB.
	Downloads int64
}

// Store builds environments, finds them again, and removes the unused.
type Store struct {
	state     string
	cache     string
	python    string
	uv        string
	environ   map[string]string
	downloads int64
	slots     chan struct{}

	mu           sync.Mutex
	interpreters map[string]interpreter // by "X.Y"; "" is the plane's own
}

// Env is an environment that is ready. Its paths stay valid while it is held, see Hold.
type Env struct {
	Key    string // names the environment in the cache
	Root   string // the folder that holds all of it
	Python string // the interpreter, inside Root
	// Vars are the image's variables, with container paths translated, and what the environment needs (VIRTUAL_ENV,
	// PYTHONPATH, BIPLANE_IMAGE_FILES: the folder that stands for the container's "/"). PATH is not among them.
	Vars map[string]string
	// PathPrepend goes before the PATH of the machine, in this order.
	PathPrepend []string
	// WorkDir is the folder with the files of the image's working directory, empty when it has none. It is shared: an
	// attempt gets a copy (CopyWorkDir), for it unpacks its code over it.
	WorkDir string
}

// DefaultCache is the folder that planes of one user share: biplane below the user's cache folder ($XDG_CACHE_HOME).
func DefaultCache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fault.Wrap(err, fault.KindPrecondition, "there is no cache folder for this user: set HOME or XDG_CACHE_HOME, or name a folder")
	}
	return filepath.Join(dir, "biplane"), nil
}

// Open makes the folders, and removes what an earlier life of the plane left unfinished in the state folder.
func Open(config Config) (*Store, error) {
	s := &Store{
		state: config.State, cache: config.Cache, python: config.Python, uv: config.UV, downloads: config.Downloads,
		slots: make(chan struct{}, parallelBuilds), interpreters: map[string]interpreter{},
	}
	if s.cache == "" {
		dir, err := DefaultCache()
		if err != nil {
			return nil, err
		}
		s.cache = dir
	}
	var err error
	if s.cache, err = filepath.Abs(s.cache); err != nil {
		return nil, fault.Wrap(err, fault.KindInternal, "the cache folder has no absolute path")
	}
	if s.python == "" {
		s.python = "python3"
	}
	if s.downloads == 0 {
		s.downloads = 5 << 30
	}
	own := config.Environ
	if own == nil {
		own = os.Environ()
	}
	s.environ = buildEnviron(own, s.downloadsFolder())
	folders := []string{s.cache}
	if s.state != "" {
		if err := os.RemoveAll(s.scratch()); err != nil {
			return nil, fault.Wrap(err, fault.KindPrecondition, "cannot write to %s", s.state)
		}
		folders = append(folders, s.scratch(), s.recipes(), s.tags())
	}
	for _, folder := range folders {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fault.Wrap(err, fault.KindPrecondition, "cannot write to %s: %v", folder, err)
		}
	}
	return s, nil
}

func (s *Store) downloadsFolder() string { return filepath.Join(s.cache, "uv") }
func (s *Store) scratch() string         { return filepath.Join(s.state, "images", "scratch") }
func (s *Store) recipes() string         { return filepath.Join(s.state, "images", "recipes") }
func (s *Store) tags() string            { return filepath.Join(s.state, "images", "tags") }

// Base is the environment of tasks that use the SDK's default image with the plane's own Python, built if need be.
func (s *Store) Base(ctx context.Context, progress Progress) (Env, error) {
	own, err := s.interpreterFor(ctx, "", progress)
	if err != nil {
		return Env{}, err
	}
	return s.environment(ctx, baseRecipe(own.minor(), SDKVersion), nil, progress)
}

// CopyWorkDir copies the files of the image's working directory into folder, which exists.
func (e Env) CopyWorkDir(folder string) error {
	if e.WorkDir == "" {
		return nil
	}
	return copyTree(folder, e.WorkDir)
}
