package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/store"
)

// MaxSpec is the largest task spec accepted, in bytes.
const MaxSpec = 8 << 20

// PutSpec keeps a task spec, once however often it is put, and returns its digest.
func (r *Registry) PutSpec(ctx context.Context, spec *task.TaskSpec) (string, error) {
	digest, raw, err := encodeSpec(spec)
	if err != nil {
		return "", err
	}
	var known bool
	err = r.db.Read(ctx, func(tx store.Tx) error { // nearly always known: reading needs no commit
		return tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM specs WHERE digest = ?)`, digest).Scan(&known)
	})
	if err != nil || known {
		return digest, err
	}
	return digest, r.db.Write(ctx, func(tx store.WriteTx) error { return insertSpec(tx, digest, raw) })
}

// Spec returns the task spec with this digest.
func (r *Registry) Spec(ctx context.Context, digest string) (*task.TaskSpec, error) {
	var spec *task.TaskSpec
	return spec, r.db.Read(ctx, func(tx store.Tx) (err error) {
		spec, err = readSpec(tx, digest)
		return err
	})
}

func encodeSpec(spec *task.TaskSpec) (digest string, raw []byte, err error) {
	if spec.GetTaskTemplate() == nil {
		return "", nil, fault.Invalid("spec.task_template", "is missing")
	}
	if size := proto.Size(spec); size > MaxSpec {
		message := fmt.Sprintf("is %d bytes large; a task spec has at most %d; keep large defaults out of the signature", size, MaxSpec)
		return "", nil, &fault.Fault{Kind: fault.KindTooLarge, Field: "spec", Message: message}
	}
	raw, err = marshal(spec)
	if err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), raw, nil
}

func insertSpec(tx store.WriteTx, digest string, raw []byte) error {
	_, err := tx.Exec(`INSERT INTO specs (digest, bytes) VALUES (?, ?) ON CONFLICT DO NOTHING`, digest, raw)
	return err
}

func readSpec(tx store.Tx, digest string) (*task.TaskSpec, error) {
	var raw []byte
	err := tx.QueryRow(`SELECT bytes FROM specs WHERE digest = ?`, digest).Scan(&raw)
	if errors.Is(err, store.ErrNoRows) {
		return nil, fault.NotFound("task spec", digest)
	}
	if err != nil {
		return nil, err
	}
	spec := &task.TaskSpec{}
	if err := proto.Unmarshal(raw, spec); err != nil {
		return nil, fmt.Errorf("task spec %s: %w", digest, err)
	}
	return spec, nil
}
