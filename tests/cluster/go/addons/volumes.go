package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provisionerName is the name that the StorageClass refers to.
const provisionerName = "moorage.dev/folder"

// folders makes each volume a folder of the node. Sizes are noted, not enforced.
type folders struct{ root string }

func runProvisioner(ctx context.Context, client kubernetes.Interface, root string) {
	controller.NewProvisionController(ctx, client, provisionerName, &folders{root},
		controller.LeaderElection(false), controller.MetricsPort(0)).Run(ctx)
}

func (f *folders) Provision(_ context.Context, options controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(f.root, options.PVName)
	// Any user of a pod may write, as on the volumes of a cloud with fsGroup.
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	kind := v1.HostPathDirectory
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: options.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource:        v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: path, Type: &kind}},
		},
	}, controller.ProvisioningFinished, nil
}

func (f *folders) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	path := filepath.Join(f.root, volume.Name)
	if source := volume.Spec.HostPath; source == nil || source.Path != path {
		return fmt.Errorf("volume %s is not a folder of this provisioner", volume.Name)
	}
	return os.RemoveAll(path)
}
