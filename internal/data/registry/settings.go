package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"biplane.dev/biplane/gen/flyteidl2/settings"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// level is where settings are kept: the organisation, a domain, or a project's domain.
type level struct {
	domain  string
	project string
}

func (l level) scope() settings.ScopeLevel {
	switch {
	case l.project != "":
		return settings.ScopeLevel_SCOPE_LEVEL_PROJECT
	case l.domain != "":
		return settings.ScopeLevel_SCOPE_LEVEL_DOMAIN
	default:
		return settings.ScopeLevel_SCOPE_LEVEL_ORG
	}
}

// chain is the level and everything broader, broadest first.
func (l level) chain() []level {
	chain := []level{{}}
	if l.domain != "" {
		chain = append(chain, level{domain: l.domain})
	}
	if l.project != "" {
		chain = append(chain, l)
	}
	return chain
}

// record is the settings of one level; version 0 means that there are none.
type record struct {
	level    level
	version  int64
	settings *settings.Settings
}

func readSettings(tx store.Tx, l level) (record, error) {
	r := record{level: l, settings: &settings.Settings{}}
	var raw []byte
	err := tx.QueryRow(`SELECT version, settings FROM settings WHERE org = ? AND domain = ? AND project = ?`, org(), l.domain, l.project).
		Scan(&r.version, &raw)
	if errors.Is(err, store.ErrNoRows) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := proto.Unmarshal(raw, r.settings); err != nil {
		return r, fmt.Errorf("settings of domain %q, project %q: %w", l.domain, l.project, err)
	}
	return r, nil
}

func readChain(tx store.Tx, l level) ([]record, error) {
	var records []record
	for _, at := range l.chain() {
		r, err := readSettings(tx, at)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// Effective returns the settings that hold for a project's domain: those of the organisation, overridden by the domain's,
// overridden by the project's. Each value says which level it is from; a setting that none gives is absent or not in
// state VALUE.
func (r *Registry) Effective(ctx context.Context, id names.Project) (*settings.Settings, error) {
	var effective *settings.Settings
	return effective, r.db.Read(ctx, func(tx store.Tx) error {
		records, err := readChain(tx, level{domain: id.Domain, project: id.Project})
		effective = merge(records)
		return err
	})
}

// merge lays narrower settings over broader ones. Maps are merged entry by entry.
func merge(records []record) *settings.Settings {
	result := &settings.Settings{}
	for _, r := range records {
		overlay(result.ProtoReflect(), r.settings.ProtoReflect(), r.level.scope())
	}
	return result
}

// The fields that make a message a setting, by which this package finds settings in a descriptor: a newer protocol's
// settings are then handled without a change here.
const (
	stateField = "state"
	scopeField = "scope_level"
)

func isSetting(m protoreflect.MessageDescriptor) bool {
	return m.Fields().ByName(stateField) != nil && m.Fields().ByName(scopeField) != nil
}

func overlay(onto, from protoreflect.Message, scope settings.ScopeLevel) {
	from.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil || field.IsList() || field.IsMap() {
			return true
		}
		if !isSetting(field.Message()) {
			overlay(onto.Mutable(field).Message(), value.Message(), scope)
			return true
		}
		setting := proto.Clone(value.Message().Interface())
		state := field.Message().Fields().ByName(stateField)
		number := settings.SettingState(value.Message().Get(state).Enum())
		if number == settings.SettingState_SETTING_STATE_INHERIT {
			return true
		}
		setting.ProtoReflect().Set(field.Message().Fields().ByName(scopeField), protoreflect.ValueOfEnum(scope.Number()))
		if narrow, ok := setting.(*settings.StringMapSetting); ok && number == settings.SettingState_SETTING_STATE_VALUE {
			broad := onto.Get(field).Message().Interface().(*settings.StringMapSetting)
			entries := maps.Clone(broad.GetMapValue().GetEntries())
			if entries == nil || broad.GetState() != settings.SettingState_SETTING_STATE_VALUE {
				entries = map[string]string{}
			}
			maps.Copy(entries, narrow.GetMapValue().GetEntries())
			narrow.MapValue = &settings.StringMap{Entries: entries}
		}
		onto.Set(field, protoreflect.ValueOfMessage(setting.ProtoReflect()))
		return true
	})
}

// Limits of the settings of one level.
const (
	maxSettings   = 256 << 10 // bytes
	maxMapEntries = 256
	maxMapValue   = 32 << 10 // bytes
)

var (
	quantity     = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// checkSettings refuses what could not hold for a run.
func checkSettings(s *settings.Settings) error {
	if size := proto.Size(s); size > maxSettings {
		return fault.Invalid("settings", "is %d bytes large; at most %d are allowed", size, maxSettings)
	}
	const given = settings.SettingState_SETTING_STATE_VALUE
	if c := s.GetRun().GetMaxActionConcurrency(); c.GetState() == given {
		if n := c.GetIntValue(); n < 0 || n == 1 || n > math.MaxUint32 {
			return fault.Invalid("settings.run.max_action_concurrency", "is %d; use 0 for no limit, or at least 2, "+
				"since an action that waits for its children counts", n)
		}
	}
	if q := s.GetRun().GetDefaultQueue(); q.GetState() == given && q.GetStringValue() != "" {
		if err := names.Check("settings.run.default_queue", q.GetStringValue()); err != nil {
			return err
		}
	}
	if base := s.GetRun().GetRunBaseDir(); base.GetState() == given && base.GetStringValue() != "" {
		if err := names.CheckPlace("settings.run.run_base_dir", base.GetStringValue()); err != nil {
			return err
		}
	}
	if raw := s.GetStorage().GetRawDataPath(); raw.GetState() == given && raw.GetStringValue() != "" {
		if err := checkRawData("settings.storage.raw_data_path", raw.GetStringValue()); err != nil {
			return err
		}
	}
	for name, m := range map[string]*settings.StringMapSetting{
		"labels": s.GetLabels(), "annotations": s.GetAnnotations(), "environment_variables": s.GetEnvironmentVariables(),
	} {
		if err := checkMap("settings."+name, m, name == "environment_variables"); err != nil {
			return err
		}
	}
	return checkQuantities("settings", s.ProtoReflect())
}

// checkRawData accepts object stores, as a run does.
func checkRawData(field, place string) error {
	if scheme, _, found := strings.Cut(place, "://"); !found || scheme == "file" {
		return fault.Invalid(field, "must be an address in an object store, like s3://bucket/folder, got %q", place)
	}
	return names.CheckPlace(field, place)
}

func checkMap(field string, m *settings.StringMapSetting, variables bool) error {
	entries := m.GetMapValue().GetEntries()
	if len(entries) > maxMapEntries {
		return fault.Invalid(field, "holds %d entries; at most %d are allowed", len(entries), maxMapEntries)
	}
	for key, value := range entries {
		if variables && !variableName.MatchString(key) {
			return fault.Invalid(field, "%.64q is not the name of an environment variable", key)
		}
		if key == "" {
			return fault.Invalid(field, "holds an entry without a key")
		}
		if err := checkText(field, key, maxDisplayName); err != nil {
			return err
		}
		if len(value) > maxMapValue {
			return fault.Invalid(field, "the value of %q is %d bytes long; at most %d are allowed", key, len(value), maxMapValue)
		}
		for i := range len(value) {
			if value[i] == 0 {
				return fault.Invalid(field, "the value of %q holds a NUL byte", key)
			}
		}
	}
	return nil
}

func checkQuantities(path string, m protoreflect.Message) (err error) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil || field.IsList() || field.IsMap() {
			return true
		}
		at := path + "." + string(field.Name())
		if q, ok := value.Message().Interface().(*settings.QuantitySetting); ok {
			if q.GetState() == settings.SettingState_SETTING_STATE_VALUE && !quantity.MatchString(q.GetQuantityValue()) {
				err = fault.Invalid(at, "%.64q is not a quantity; write it like 500m, 2 or 1Gi", q.GetQuantityValue())
			}
		} else {
			err = checkQuantities(at, value.Message())
		}
		return err == nil
	})
	return err
}
