package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// settle gathers the changes of one moment (a pod with its policies) into one table.
	settle = 50 * time.Millisecond
	// repair lays the table again in case something else removed it.
	repair = time.Minute
)

// runNetworkPolicies keeps the table in step with pods, namespaces and policies until ctx ends.
// A pod is covered from when its address is in its status, which is a moment after its first process starts.
func runNetworkPolicies(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	pods, namespaces := factory.Core().V1().Pods(), factory.Core().V1().Namespaces()
	policies := factory.Networking().V1().NetworkPolicies()

	changed := make(chan struct{}, 1)
	note := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { note() },
		UpdateFunc: func(any, any) { note() },
		DeleteFunc: func(any) { note() },
	}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	laid, laidAt := "", time.Time{}
	ticker := time.NewTicker(repair)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-changed:
			time.Sleep(settle)
		}
		world, err := readWorld(pods.Lister().List, namespaces.Lister().List, policies.Lister().List)
		if err != nil {
			return err
		}
		table := world.table()
		if table == laid && time.Since(laidAt) < repair {
			continue
		}
		if err := lay(ctx, table); err != nil {
			klog.ErrorS(err, "laying the table; trying again", "table", table)
			time.AfterFunc(time.Second, note)
			continue
		}
		laid, laidAt = table, time.Now()
	}
}

func readWorld(
	pods func(labels.Selector) ([]*v1.Pod, error),
	namespaces func(labels.Selector) ([]*v1.Namespace, error),
	policies func(labels.Selector) ([]*networking.NetworkPolicy, error),
) (*world, error) {
	w := &world{namespaces: map[string]labels.Set{}}
	everything := labels.Everything()
	ps, err := pods(everything)
	if err != nil {
		return nil, err
	}
	nss, err := namespaces(everything)
	if err != nil {
		return nil, err
	}
	if w.policies, err = policies(everything); err != nil {
		return nil, err
	}
	for _, namespace := range nss {
		w.namespaces[namespace.Name] = namespace.Labels
	}
	for _, pod := range ps {
		ended := pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
		// Pods on the host's network bear the node's address: policies do not cover them.
		if pod.Status.PodIP != "" && !pod.Spec.HostNetwork && !ended {
			w.pods = append(w.pods, pod)
		}
	}
	w.sort()
	return w, nil
}

// lay replaces the whole table at once: nft applies a file as one transaction.
func lay(ctx context.Context, table string) error {
	command := exec.CommandContext(ctx, "nft", "-f", "-")
	command.Stdin = bytes.NewBufferString(table)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, output)
	}
	return nil
}
