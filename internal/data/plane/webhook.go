package plane

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/data/engine"
)

const (
	webhookTries   = 3
	webhookTimeout = 10 * time.Second
)

// Webhook tells the address that a condition names that it waits, and where it can be answered. It is tried a few times and never holds up the
// condition.
func (w world) Webhook(e engine.PostWebhook) {
	condition := &workflow.ConditionAction{}
	if err := proto.Unmarshal(e.Detail, condition); err != nil || condition.GetWebhook().GetUrl() == "" {
		return
	}
	hook := fillIn(condition.GetWebhook(), w.callbacks.URI(e.ID))
	w.hooks.Go(func() {
		for try := range webhookTries {
			err := post(w.background, hook)
			if err == nil || w.background.Err() != nil {
				return
			}
			w.config.Log.Warn("the webhook of a condition could not be reached", "action", e.ID, "try", try+1, "error", err)
			if try+1 < webhookTries {
				wait(w.background, time.Second<<try)
			}
		}
	})
}

// fillIn puts the address that answers the condition where the payload wants it.
func fillIn(hook *workflow.ConditionWebhook, uri string) *workflow.ConditionWebhook {
	hook = proto.CloneOf(hook)
	var fill func(*structpb.Value)
	fill = func(v *structpb.Value) {
		switch kind := v.GetKind().(type) {
		case *structpb.Value_StringValue:
			kind.StringValue = strings.ReplaceAll(kind.StringValue, "{callback_uri}", uri)
		case *structpb.Value_ListValue:
			for _, item := range kind.ListValue.GetValues() {
				fill(item)
			}
		case *structpb.Value_StructValue:
			for _, field := range kind.StructValue.GetFields() {
				fill(field)
			}
		}
	}
	for _, field := range hook.GetPayload().GetFields() {
		fill(field)
	}
	return hook
}

func post(ctx context.Context, hook *workflow.ConditionWebhook) error {
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	payload := hook.GetPayload()
	if payload == nil {
		payload = &structpb.Struct{}
	}
	body, err := protojson.Marshal(payload)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.GetUrl(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	if response.StatusCode >= 300 {
		return fmt.Errorf("it answered %s", strings.TrimSpace(response.Status))
	}
	return nil
}
