package registry

import (
	"context"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/settings"
	"biplane.dev/biplane/gen/flyteidl2/settings/settingsconnect"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/store"
)

// SettingsService answers flyteidl2.settings.SettingsService.
type SettingsService struct{ r *Registry }

var _ settingsconnect.SettingsServiceHandler = SettingsService{}

// NewSettingsService serves the settings of r.
func NewSettingsService(r *Registry) SettingsService { return SettingsService{r} }

func (s SettingsService) level(ctx context.Context, key *settings.SettingsKey) (level, error) {
	l := level{domain: key.GetDomain(), project: key.GetProject()}
	return l, s.r.CheckScope(ctx, l.domain, l.project)
}

func (r record) message() *settings.SettingsRecord {
	return &settings.SettingsRecord{Key: r.level.key(), Settings: r.settings, Version: uint64(r.version)}
}

func (l level) key() *settings.SettingsKey {
	return &settings.SettingsKey{Org: org(), Domain: l.domain, Project: l.project}
}

// GetSettings returns the settings that hold at a level, inherited ones included. Its version is that of the level's own
// record.
func (s SettingsService) GetSettings(ctx context.Context, request *settings.GetSettingsRequest) (*settings.GetSettingsResponse, error) {
	l, err := s.level(ctx, request.GetKey())
	if err != nil {
		return nil, err
	}
	response := &settings.GetSettingsResponse{}
	err = s.r.db.Read(ctx, func(tx store.Tx) error {
		records, err := readChain(tx, l)
		if err != nil {
			return err
		}
		effective := records[len(records)-1]
		effective.settings = merge(records)
		response.SettingsRecord = effective.message()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// GetSettingsForEdit returns the level's own settings and those of every broader level, broadest first. A level without
// settings has version 0, which tells the SDK to create them.
func (s SettingsService) GetSettingsForEdit(ctx context.Context, request *settings.GetSettingsForEditRequest) (*settings.GetSettingsForEditResponse, error) {
	l, err := s.level(ctx, request.GetKey())
	if err != nil {
		return nil, err
	}
	response := &settings.GetSettingsForEditResponse{RequestedKey: l.key()}
	err = s.r.db.Read(ctx, func(tx store.Tx) error {
		records, err := readChain(tx, l)
		for _, r := range records {
			response.Levels = append(response.Levels, r.message())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// CreateSettings gives a level its first settings.
func (s SettingsService) CreateSettings(ctx context.Context, request *settings.CreateSettingsRequest) (*settings.CreateSettingsResponse, error) {
	written, err := s.write(ctx, request.GetKey(), request.GetSettings(), func(old int64) error {
		if old != 0 {
			return fault.New(fault.KindExists, "these settings were created meanwhile, by somebody else; read them again and update them")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &settings.CreateSettingsResponse{SettingsRecord: written.message()}, nil
}

// UpdateSettings replaces the settings of a level, if they are still the ones that the caller has seen.
func (s SettingsService) UpdateSettings(ctx context.Context, request *settings.UpdateSettingsRequest) (*settings.UpdateSettingsResponse, error) {
	written, err := s.write(ctx, request.GetKey(), request.GetSettings(), func(old int64) error {
		switch {
		case old == 0:
			return fault.New(fault.KindNotFound, "there are no settings at this level yet; create them")
		case uint64(old) != request.GetVersion():
			return fault.New(fault.KindAborted, "the settings are at version %d, not at %d: somebody changed them meanwhile; "+
				"read them again", old, request.GetVersion())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &settings.UpdateSettingsResponse{SettingsRecord: written.message()}, nil
}

// write stores the next version of a level's settings when check agrees to the version that it has.
func (s SettingsService) write(ctx context.Context, key *settings.SettingsKey, content *settings.Settings, check func(old int64) error) (record, error) {
	l, err := s.level(ctx, key)
	if err != nil {
		return record{}, err
	}
	if content == nil {
		content = &settings.Settings{}
	}
	if err := checkSettings(content); err != nil {
		return record{}, err
	}
	raw, err := marshal(content)
	if err != nil {
		return record{}, err
	}
	written := record{level: l, settings: content}
	return written, s.r.db.Write(ctx, func(tx store.WriteTx) error {
		old, err := readSettings(tx, l)
		if err != nil {
			return err
		}
		if err := check(old.version); err != nil {
			return err
		}
		written.version = old.version + 1
		_, err = tx.Exec(`INSERT INTO settings (org, domain, project, version, settings, updated_at, seq) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (org, domain, project) DO UPDATE SET version = excluded.version, settings = excluded.settings,
				updated_at = excluded.updated_at, seq = excluded.seq`,
			org(), l.domain, l.project, written.version, raw, micros(time.Now()), tx.NextSeq())
		return err
	})
}
