//! What the original calls the fields of its own types, and in which order it declares them, where neither follows from
//! what is sent.

/// Fields whose order is not that of their tags.
const ORDERS: [(&str, &str); 11] = [
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
        "apiVersion kind name uid controller blockOwnerDeletion",
    ),
    ("io.k8s.api.core.v1.ServicePort", "name protocol appProtocol port targetPort nodePort"),
    (
        "io.k8s.api.core.v1.PersistentVolumeClaimSpec",
        "accessModes selector resources volumeName storageClassName volumeMode dataSource \
            dataSourceRef volumeAttributesClassName",
    ),
    (
        "io.k8s.api.core.v1.PersistentVolumeSpec",
        "capacity gcePersistentDisk awsElasticBlockStore hostPath glusterfs nfs rbd quobyte \
            iscsi flexVolume cinder cephfs fc flocker azureFile vsphereVolume azureDisk \
            photonPersistentDisk portworxVolume scaleIO local storageos csi accessModes \
            claimRef persistentVolumeReclaimPolicy storageClassName mountOptions volumeMode \
            nodeAffinity volumeAttributesClassName",
    ),
    (
        "io.k8s.api.core.v1.Volume",
        "name hostPath emptyDir gcePersistentDisk awsElasticBlockStore gitRepo secret nfs \
            iscsi glusterfs persistentVolumeClaim rbd quobyte flexVolume cinder cephfs flocker \
            downwardAPI fc azureFile configMap vsphereVolume azureDisk photonPersistentDisk \
            projected portworxVolume scaleIO storageos csi ephemeral image",
    ),
    (
        "io.k8s.api.core.v1.VolumeMount",
        "name readOnly recursiveReadOnly mountPath subPath mountPropagation subPathExpr",
    ),
    (
        "io.k8s.api.core.v1.Container",
        "name image command args workingDir ports envFrom env resources resizePolicy \
            restartPolicy restartPolicyRules volumeMounts volumeDevices livenessProbe \
            readinessProbe startupProbe lifecycle terminationMessagePath \
            terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty",
    ),
    (
        "io.k8s.api.core.v1.EphemeralContainer",
        "name image command args workingDir ports envFrom env resources resizePolicy \
            restartPolicy restartPolicyRules volumeMounts volumeDevices livenessProbe \
            readinessProbe startupProbe lifecycle terminationMessagePath \
            terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty \
            targetContainerName",
    ),
    (
        "io.k8s.api.core.v1.SecurityContext",
        "capabilities privileged seLinuxOptions windowsOptions runAsUser runAsGroup \
            runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation procMount \
            seccompProfile appArmorProfile",
    ),
    (
        "io.k8s.api.core.v1.PodSecurityContext",
        "seLinuxOptions windowsOptions runAsUser runAsGroup runAsNonRoot supplementalGroups \
            supplementalGroupsPolicy fsGroup fsGroupChangePolicy sysctls seccompProfile \
            appArmorProfile seLinuxChangePolicy",
    ),
    (
        "io.k8s.api.core.v1.PodSpec",
        "volumes initContainers containers ephemeralContainers restartPolicy \
            terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy nodeSelector \
            serviceAccountName automountServiceAccountToken nodeName securityContext \
            imagePullSecrets hostname subdomain setHostnameAsFQDN affinity schedulerName \
            tolerations hostAliases priorityClassName priority preemptionPolicy dnsConfig \
            readinessGates runtimeClassName overhead enableServiceLinks \
            topologySpreadConstraints os schedulingGates resourceClaims resources \
            hostnameOverride schedulingGroup",
    ),
];

/// Fields of a pod that stand in its security context inside.
pub(super) const OF_SECURITY_CONTEXT: [&str; 5] =
    ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

/// The fields of a type in the order of their declaration, where that is not the order of their tags.
pub(super) fn order(definition: &str) -> Option<Vec<&'static str>> {
    let (_, order) = ORDERS.iter().find(|(name, _)| *name == definition)?;
    Some(order.split(' ').collect())
}

/// The Go name of a field.
pub(super) fn internal_name(name: &str) -> String {
    const INITIALS: [&str; 31] = [
        "api", "aws", "ca", "cel", "cidr", "csi", "dns", "fc", "fs", "gce", "gid", "gmsa", "grpc",
        "http", "id", "ip", "iqn", "iscsi", "json", "nfs", "os", "qos", "rbd", "se", "ssl", "tcp",
        "tls", "ttl", "tty", "uid", "url",
    ];
    const OTHERS: [(&str, &str); 11] = [
        ("cephfs", "CephFS"),
        ("chapAuthDiscovery", "DiscoveryCHAPAuth"),
        ("chapAuthSession", "SessionCHAPAuth"),
        ("cidrs", "CIDRs"),
        ("diskURI", "DataDiskURI"),
        ("ips", "IPs"),
        ("lastState", "LastTerminationState"),
        ("pdID", "PdID"),
        ("pdName", "PDName"),
        ("storageos", "StorageOS"),
        ("wwids", "WWIDs"),
    ];
    if let Some((_, other)) = OTHERS.iter().find(|(sent, _)| *sent == name) {
        return (*other).to_owned();
    }
    let head = name.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(name.len());
    let (head, tail) = name.split_at(head);
    if INITIALS.contains(&head) {
        return head.to_ascii_uppercase() + tail;
    }
    let mut letters = head.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(tail.chars()).collect()
}
