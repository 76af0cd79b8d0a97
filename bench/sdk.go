package main

import (
	"context"
)

func (b *bench) sdk(ctx context.Context) error { return nil }
