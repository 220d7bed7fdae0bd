//! What a host that is a container lacks for a kubelet, and the part of the inventory that makes the hosts a cluster.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::Error;
use super::layout::{LabHost, mirror_folder, mirror_url};

/// The one Kubernetes whose whole source Debian has.
pub const VERSION: &str = "1.20.2";
/// Images of every node, as kubeadm of this version names them, and those of control planes.
const NODE_IMAGES: [&str; 3] =
    ["k8s.gcr.io/pause:3.2", "k8s.gcr.io/kube-proxy:v1.20.2", "lab.example/busybox:1"];
const CONTROL_PLANE_IMAGES: [&str; 4] = [
    "k8s.gcr.io/kube-apiserver:v1.20.2",
    "k8s.gcr.io/kube-controller-manager:v1.20.2",
    "k8s.gcr.io/kube-scheduler:v1.20.2",
    "k8s.gcr.io/etcd:3.4.13-0",
];

/// Whether `tests/kubernetes/build` has been here.
pub fn check_mirror() -> Result<(), Error> {
    let stamp = mirror_folder().join(format!("kubernetes/release/v{VERSION}/recipe"));
    if stamp.exists() {
        Ok(())
    } else {
        Err(Error::NoKubernetes { version: VERSION, file: stamp.display().to_string() })
    }
}

/// Adds to a host's root what only a node of Kubernetes needs.
pub fn prepare(root: &Path) -> Result<(), Error> {
    let unit = root.join("etc/systemd/system/lab-kernel.service");
    fs::write(&unit, KERNEL).map_err(Error::io("write", &unit))?;
    let link = root.join("etc/systemd/system/sysinit.target.wants/lab-kernel.service");
    symlink("../lab-kernel.service", &link).map_err(Error::io("link", &link))?;
    let crictl = root.join("usr/local/bin/crictl");
    fs::write(&crictl, CRICTL).map_err(Error::io("write", &crictl))?;
    fs::set_permissions(&crictl, fs::Permissions::from_mode(0o755))
        .map_err(Error::io("set the mode of", &crictl))
}

/// Groups and variables of an inventory; the first hosts are the control planes.
pub fn inventory(control_planes: &[LabHost], workers: &[LabHost]) -> String {
    let names = |hosts: &[LabHost]| hosts.iter().map(|host| host.name()).collect::<Vec<_>>().join(", ");
    let images = |images: &[&str]| {
        images.iter().fold(String::new(), |mut text, image| {
            let file = image.replace(['/', ':'], "_");
            let _ = writeln!(
                text,
                "      - {{ image: \"{image}\", url: \"{}/kubernetes/images/{file}.tar\" }}",
                mirror_url()
            );
            text
        })
    };
    let all = [&NODE_IMAGES[..], &CONTROL_PLANE_IMAGES].concat();
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
    sandbox_image: {}
    restrict_oom_score_adj: true
    crictl: present
    images:
{}  kube:
    version: {VERSION}
    source: {{ mirror: \"{}/kubernetes\" }}
    endpoint: {{ address: {} }}
    cni: bridge
    # Debian has no CoreDNS.
    dns: false
    # The kernel is the machine's: what of it can be set in a container is little.
    ignore_preflight: [SystemVerification, ImagePull]
    # The disk is the machine's too, and how full it is no reason for a pod to go.
    kubelet_config:
      imageGCHighThresholdPercent: 100
      evictionHard: {{ imagefs.available: \"0%\", nodefs.available: \"0%\", nodefs.inodesFree: \"0%\" }}
    proxy_config: {{ conntrack: {{ maxPerCore: 0 }} }}
",
        NODE_IMAGES[0],
        images(&all),
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

/// No registry of packages has crictl. This answers what kubeadm 1.20 asks of it, by containerd's own client.
const CRICTL: &str = r#"#!/bin/sh
# Not crictl: what kubeadm 1.20 asks of it, answered by ctr.
while :; do
  case $1 in
    -r | --runtime-endpoint) shift 2 ;;
    *) break ;;
  esac
done
ctr() { command ctr --namespace k8s.io "$@"; }
case $1 in
  info) ctr version >/dev/null ;;
  inspecti) ctr images ls -q | grep -qxF "$2" ;;
  pull) ctr images pull "$2" >/dev/null ;;
  pods) ctr containers ls -q ;;
  stopp) ctr tasks kill --signal KILL --all "$2" 2>/dev/null || : ;;
  rmp)
    ctr tasks delete --force "$2" >/dev/null 2>&1
    ctr containers delete "$2"
    ;;
  *)
    echo "this is not crictl, and does not know: $*" >&2
    exit 1
    ;;
esac
"#;

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
            "      - { image: \"k8s.gcr.io/pause:3.2\", url: \"http://10.77.0.1:7780/kubernetes/images/k8s.gcr.io_pause_3.2.tar\" }\n",
            "    endpoint: { address: 10.77.0.11 }\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
