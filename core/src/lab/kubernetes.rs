//! What a host that is a container lacks for a kubelet, and the part of the inventory that makes the hosts a cluster.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Error;
use super::layout::{LabHost, mirror_folder, mirror_url};

/// What `tests/products/build` makes.
pub const VERSION: &str = "1.34.4";
/// Of the same minor release as Kubernetes.
const CRICTL: &str = "1.34.0";
const PAUSE: &str = "registry.k8s.io/pause:3.10.1";
/// The images that kubeadm of this version wants, as it names them, and two that workloads use.
const IMAGES: [&str; 10] = [
    PAUSE,
    "registry.k8s.io/kube-apiserver:v1.34.4",
    "registry.k8s.io/kube-controller-manager:v1.34.4",
    "registry.k8s.io/kube-scheduler:v1.34.4",
    "registry.k8s.io/kube-proxy:v1.34.4",
    "registry.k8s.io/etcd:3.6.5-0",
    "registry.k8s.io/coredns/coredns:v1.12.1",
    "registry.k8s.io/metrics-server/metrics-server:v0.8.0",
    "docker.io/hashicorp/consul:1.14.11",
    "lab.example/busybox:1",
];

/// Whether `tests/products/build` has been here.
pub fn check_mirror() -> Result<(), Error> {
    let images = IMAGES.map(|image| mirror_folder().join("kubernetes/images").join(archive(image)));
    let releases = [
        format!("kubernetes/release/v{VERSION}/bin/linux/amd64/kubeadm"),
        format!("cri-tools/v{CRICTL}/crictl-v{CRICTL}-linux-amd64.tar.gz"),
    ];
    let files = releases.map(|file| mirror_folder().join(file)).into_iter().chain(images);
    match files.into_iter().find(|file| !file.exists()) {
        None => Ok(()),
        Some(file) => Err(Error::NoKubernetes { version: VERSION, file: file.display().to_string() }),
    }
}

/// Adds to a host's root what only a node of Kubernetes needs.
pub fn prepare(root: &Path) -> Result<(), Error> {
    let unit = root.join("etc/systemd/system/lab-kernel.service");
    fs::write(&unit, KERNEL).map_err(Error::io("write", &unit))?;
    let link = root.join("etc/systemd/system/sysinit.target.wants/lab-kernel.service");
    symlink("../lab-kernel.service", &link).map_err(Error::io("link", &link))
}

/// The file of an image in the mirror.
fn archive(image: &str) -> String {
    format!("{}.tar", image.replace(['/', ':'], "_"))
}

/// Groups and variables of an inventory; the first hosts are the control planes.
pub fn inventory(control_planes: &[LabHost], workers: &[LabHost]) -> String {
    let names = |hosts: &[LabHost]| hosts.iter().map(|host| host.name()).collect::<Vec<_>>().join(", ");
    let images = IMAGES.iter().fold(String::new(), |mut text, image| {
        let (mirror, file) = (mirror_url(), archive(image));
        let _ =
            writeln!(text, "      - {{ image: \"{image}\", url: \"{mirror}/kubernetes/images/{file}\" }}");
        text
    });
    let mut text = String::from("groups:\n");
    let _ = write!(
        text,
        "  control-planes:\n    hosts: [{}]\n    roles: [container-runtime, kube-control-plane]\n",
        names(control_planes)
    );
    if !workers.is_empty() {
        let _ = write!(
            text,
            "  workers:\n    hosts: [{}]\n    roles: [container-runtime, kube-worker]\n",
            names(workers)
        );
    }
    let _ = write!(
        text,
        "vars:
  container:
    # Overlays do not lie on overlays, and the hosts' roots are such.
    data_dir: /data/containerd
    sandbox_image: {PAUSE}
    restrict_oom_score_adj: true
    crictl_version: {CRICTL}
    crictl_source: {{ mirror: \"{}/cri-tools\" }}
    images:
{images}  kube:
    version: {VERSION}
    source: {{ mirror: \"{}/kubernetes\" }}
    endpoint: {{ address: {} }}
    cni: bridge
    # The kernel is the machine's: what of it can be set in a container is little.
    ignore_preflight: [SystemVerification]
    # The disk is the machine's too, and how full it is no reason for a pod to go.
    kubelet_config:
      imageGCHighThresholdPercent: 100
      evictionHard: {{ imagefs.available: \"0%\", nodefs.available: \"0%\", nodefs.inodesFree: \"0%\" }}
    proxy_config: {{ conntrack: {{ maxPerCore: 0 }} }}
",
        mirror_url(),
        mirror_url(),
        control_planes.first().map_or_else(String::new, |host| host.address().to_string()),
    );
    text
}

/// The kubelet wants these settings of the kernel as they are here, or sets them so; in a container they can be neither
/// written nor set for the container alone. The files are this host's own.
const KERNEL: &str = "\
[Unit]
Description=Let the kubelet of this host have the kernel's settings that it wants
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'mkdir -p /run/lab-kernel; for pair in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do path=$${pair%%=*}; file=/run/lab-kernel/$$(echo $$path | tr / -); echo $${pair#*=} >$$file; mount --bind $$file /proc/sys/$$path; done'
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_for_four_hosts() {
        let hosts: Vec<LabHost> = LabHost::all(4).collect();
        let text = inventory(&hosts[..3], &hosts[3..]);
        for part in [
            "    hosts: [node-1, node-2, node-3]\n    roles: [container-runtime, kube-control-plane]\n",
            "    hosts: [node-4]\n    roles: [container-runtime, kube-worker]\n",
            "      - { image: \"registry.k8s.io/pause:3.10.1\", url: \"http://10.77.0.1:7780/kubernetes/images/registry.k8s.io_pause_3.10.1.tar\" }\n",
            "    endpoint: { address: 10.77.0.11 }\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
