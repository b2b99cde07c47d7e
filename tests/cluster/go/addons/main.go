// Command addons gives the node what a bare Kubernetes lacks: volumes made on demand, and NetworkPolicies that are enforced.
//
// It serves one node whose pods have addresses of their own, routed through the host (no bridge), IPv4 only.
package main

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	volumes := flag.String("volumes", "", "folder in which volumes are made")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.Fatalf("kubeconfig: %v", err)
	}
	// One client for a handful of watches; the default of 5 requests a second would slow twenty volumes at once.
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		klog.Fatalf("client: %v", err)
	}
	go runProvisioner(ctx, client, *volumes)
	if err := runNetworkPolicies(ctx, client); err != nil {
		klog.ErrorS(err, "network policies")
		os.Exit(1)
	}
}
