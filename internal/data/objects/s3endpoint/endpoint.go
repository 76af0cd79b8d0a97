package s3endpoint

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rclone/gofakes3"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
)

// Options are the choices of an endpoint; all are needed.
type Options struct {
	Name        string        // of the bucket in s3:// addresses, and the first segment of the paths that the endpoint serves
	Prefixes    []objects.Key // what is served: keys below these
	Credentials Credentials
	Staging     string        // a folder for the parts of uploads under way; emptied when the endpoint is made
	MaxObject   int64         // bytes of one object
	MaxUploads  int           // uploads in parts at a time
	MaxRequests int           // requests at a time; more wait
	Idle        time.Duration // longest pause within a body; an upload in parts that stands still for as long as Total is dropped
	Total       time.Duration // longest time for one body
	Log         *slog.Logger
}

// Endpoint is an http.Handler for the paths "/Name" and "/Name/".
type Endpoint struct {
	options Options
	handler http.Handler
	slots   chan struct{}
}

// New makes an endpoint of bucket.
func New(bucket objects.Bucket, options Options) (*Endpoint, error) {
	// Without keys gofakes3 lets everybody in.
	if options.Credentials.AccessKey == "" || options.Credentials.Secret == "" {
		return nil, errors.New("an S3 endpoint needs credentials")
	}
	if err := gofakes3.ValidateBucketName(options.Name); err != nil {
		return nil, fmt.Errorf("%q cannot be the name of an S3 bucket: %w", options.Name, err)
	}
	if len(options.Prefixes) == 0 {
		return nil, errors.New("an S3 endpoint needs the prefixes that it serves")
	}
	options.Prefixes = disjoint(options.Prefixes)
	if err := emptyFolder(options.Staging); err != nil {
		return nil, fmt.Errorf("the folder for uploads under way: %w", err)
	}
	backend := &backend{bucket: bucket, options: options, uploads: map[gofakes3.UploadID]*upload{}}
	protocol := gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{options.Credentials.AccessKey: options.Credentials.Secret}))
	backend.forget = protocol.ForgetMultipartUpload
	e := &Endpoint{options: options, slots: make(chan struct{}, options.MaxRequests)}
	e.handler = objects.Paced(e.gate(protocol.Server()), options.Idle, options.Total)
	return e, nil
}

// disjoint sorts prefixes and leaves out those below another, so that going through them gives each key once and in order.
func disjoint(prefixes []objects.Key) []objects.Key {
	var kept []objects.Key
	for _, prefix := range slices.Sorted(slices.Values(prefixes)) {
		if !slices.ContainsFunc(kept, func(above objects.Key) bool {
			return prefix == above || strings.HasPrefix(string(prefix), string(above)+"/")
		}) {
			kept = append(kept, prefix)
		}
	}
	// Compared with their '/', as their keys are.
	slices.SortFunc(kept, func(a, b objects.Key) int { return strings.Compare(string(a)+"/", string(b)+"/") })
	return kept
}

func emptyFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }

// URI is the address of an object, or of all objects below key: a raw data prefix of tasks.
func (e *Endpoint) URI(key objects.Key) string { return "s3://" + e.options.Name + "/" + string(key) }

// Key is the inverse of URI; any other address is a fault of KindInvalid. One '/' at the end is ignored.
func (e *Endpoint) Key(uri string) (objects.Key, error) {
	rest, ok := strings.CutPrefix(uri, "s3://"+e.options.Name+"/")
	if !ok {
		return "", fault.Invalid("uri", "%q is not raw data of this data plane; that starts with %q", uri, e.URI(""))
	}
	key, err := objects.ParseKey(strings.TrimSuffix(rest, "/"))
	var invalid *fault.Fault
	if errors.As(err, &invalid) {
		return "", fault.Invalid("uri", "%s", invalid.Message)
	}
	if err != nil {
		return "", err
	}
	if !e.options.serves(string(key)) {
		return "", fault.Invalid("uri", "%q is not raw data of this data plane", uri)
	}
	return key, nil
}

// Environment is what a client needs to read and write raw data at url ("http://127.0.0.1:8090") with the stock SDK
// (storage/_config.py). It holds the secret. While it is set, the SDK takes every s3:// address for one of this endpoint: a process that
// shall reach an S3 of its user must not get it, and neither must a task whose run has a raw data path elsewhere.
func (e *Endpoint) Environment(url string) map[string]string {
	return map[string]string{
		"FLYTE_AWS_ENDPOINT":          url,
		"FLYTE_AWS_ACCESS_KEY_ID":     e.options.Credentials.AccessKey,
		"FLYTE_AWS_SECRET_ACCESS_KEY": e.options.Credentials.Secret,
	}
}

// TaskEnvironment is Environment, and what pyarrow needs: the SDK reads a pyarrow table with pyarrow's own S3 client, which knows
// nothing of FLYTE_AWS_. What a user sets goes before it.
func (e *Endpoint) TaskEnvironment(url string) map[string]string {
	env := e.Environment(url)
	env["AWS_ENDPOINT_URL_S3"] = url
	env["AWS_ACCESS_KEY_ID"] = e.options.Credentials.AccessKey
	env["AWS_SECRET_ACCESS_KEY"] = e.options.Credentials.Secret
	return env
}

// serves says whether key lies below a prefix.
func (o Options) serves(key string) bool {
	for _, prefix := range o.Prefixes {
		if strings.HasPrefix(key, string(prefix)+"/") {
			return true
		}
	}
	return false
}
