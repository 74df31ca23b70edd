{{- define "lodeway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "lodeway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "lodeway.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lodeway.selector" -}}
app.kubernetes.io/name: {{ include "lodeway.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "lodeway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: lodeway
{{ include "lodeway.selector" . }}
{{- end -}}

{{- define "lodeway.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "lodeway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lodeway.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What cannot work is refused before anything is installed. */}}
{{- define "lodeway.check" -}}
{{- if eq .Values.mode "split" -}}
{{- if not .Values.store.existingSecret -}}
{{- fail "store.existingSecret: name a Secret that holds the URL of PostgreSQL, or set mode: embedded" -}}
{{- end -}}
{{- if not .Values.artifacts.url -}}
{{- fail "artifacts.url: name a bucket such as s3://bucket/prefix, or set mode: embedded" -}}
{{- end -}}
{{- if and .Values.auth.existingSecret (not .Values.peerToken.existingSecret) -}}
{{- fail "peerToken.existingSecret: with auth.existingSecret the services need a shared Secret to believe each other" -}}
{{- end -}}
{{- else -}}
{{- if .Values.store.existingSecret -}}
{{- fail "store.existingSecret: mode: embedded keeps SQLite on its volume; leave it empty, or set mode: split" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where the other services are, for the service `component`. */}}
{{- define "lodeway.peers" -}}
{{- $root := .root -}}
{{- $needs := dict "artifacts" (list) "tracking" (list "artifacts") "registry" (list "artifacts" "tracking") "serving" (list "artifacts" "registry") "evaluation" (list "artifacts" "tracking" "registry" "serving" "gateway") "gateway" (list "artifacts" "tracking" "registry" "serving" "evaluation") "embedded" (list) -}}
{{- range get $needs .component }}
- name: LODEWAY_PEERS__{{ upper . }}
  value: http://{{ include "lodeway.fullname" $root }}-{{ . }}:{{ $root.Values.service.port }}
{{- end -}}
{{- end -}}

{{/* The database's address. */}}
{{- define "lodeway.storeEnv" -}}
- name: LODEWAY_STORE__URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.existingSecret }}
      key: {{ .Values.store.key }}
- name: LODEWAY_STORE__POOL_SIZE
  value: {{ .Values.store.poolSize | quote }}
{{- end -}}

{{/* The bucket's address; only the process that opens it gets its credentials. */}}
{{- define "lodeway.bucketEnv" -}}
{{- with .Values.artifacts.url }}
- name: LODEWAY_ARTIFACTS__URL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.artifacts.allowRoots }}
- name: LODEWAY_ARTIFACTS__ALLOW_ROOTS
  value: {{ join "," . | quote }}
{{- end }}
{{- range $name, $value := .Values.artifacts.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* The pod of one process: a dict of root, component, args, service (for health; empty: the process), settings, data. */}}
{{- define "lodeway.pod" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $opensBucket := has .component (list "artifacts" "embedded") -}}
metadata:
  labels:
    {{- include "lodeway.labels" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "lodeway.serviceAccountName" $root }}
  automountServiceAccountToken: false
  # Variables that Kubernetes makes of Services begin with LODEWAY_ if the release does, and would be read as keys of
  # the configuration.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add $values.preStopSleepSeconds $values.shutdownGraceSeconds 10 }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: lodeway
      image: {{ include "lodeway.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        - name: LODEWAY_LISTEN
          value: {{ printf "%s:5000" $values.listenAddress | quote }}
        - name: LODEWAY_DATA_DIR
          value: /data
        - name: LODEWAY_SHUTDOWN_GRACE
          value: {{ printf "%ds" (int $values.shutdownGraceSeconds) }}
        - name: LODEWAY_TELEMETRY__LOG
          value: {{ $values.telemetry.log | quote }}
        - name: LODEWAY_TELEMETRY__FORMAT
          value: {{ $values.telemetry.format }}
        {{- with $values.telemetry.otlpEndpoint }}
        - name: LODEWAY_TELEMETRY__OTLP_ENDPOINT
          value: {{ . | quote }}
        {{- end }}
        {{- with $values.artifacts.defaultRoot }}
        - name: LODEWAY_ARTIFACTS__DEFAULT_ROOT
          value: {{ . | quote }}
        {{- end }}
        {{- if $values.store.existingSecret }}
        {{- include "lodeway.storeEnv" $root | nindent 8 }}
        {{- end }}
        {{- if $opensBucket }}
        {{- with include "lodeway.bucketEnv" $root | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- with include "lodeway.peers" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- if $values.peerToken.existingSecret }}
        - name: LODEWAY_PEER_TOKEN
          valueFrom:
            secretKeyRef:
              name: {{ $values.peerToken.existingSecret }}
              key: {{ $values.peerToken.key }}
        {{- end }}
        {{- if $values.auth.existingSecret }}
        - name: LODEWAY_AUTH__TOKEN_TABLE
          value: /etc/lodeway/auth/{{ $values.auth.key }}
        {{- end }}
        {{- with .settings.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if and $opensBucket $values.artifacts.existingSecret }}
      envFrom:
        - secretRef:
            name: {{ $values.artifacts.existingSecret }}
      {{- end }}
      ports:
        - name: grpc
          containerPort: 5000
          protocol: TCP
      # The first start may have to wait for the database and to migrate it.
      startupProbe:
        {{- include "lodeway.probe" . | nindent 8 }}
        periodSeconds: 2
        failureThreshold: 60
      readinessProbe:
        {{- include "lodeway.probe" . | nindent 8 }}
        periodSeconds: 5
        failureThreshold: 2
      livenessProbe:
        grpc:
          port: 5000
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      {{- if gt (int $values.preStopSleepSeconds) 0 }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $values.preStopSleepSeconds }}
      {{- end }}
      resources:
        {{- toYaml .settings.resources | nindent 8 }}
      securityContext:
        {{- toYaml $values.securityContext | nindent 8 }}
      volumeMounts:
        - name: data
          mountPath: /data
        - name: tmp
          mountPath: /tmp
        {{- if $values.auth.existingSecret }}
        - name: auth
          mountPath: /etc/lodeway/auth
          readOnly: true
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- if ne .component "embedded" }}
    - name: data
      emptyDir: {}
    {{- end }}
    {{- if $values.auth.existingSecret }}
    - name: auth
      secret:
        secretName: {{ $values.auth.existingSecret }}
        defaultMode: 0440
        items:
          - key: {{ $values.auth.key }}
            path: {{ $values.auth.key }}
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if $values.topologySpreadConstraints }}
    {{- toYaml $values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "lodeway.selector" . | nindent 10 }}
    {{- end }}
{{- end -}}

{{- define "lodeway.probe" -}}
grpc:
  port: 5000
  {{- with .service }}
  service: {{ . }}
  {{- end }}
timeoutSeconds: 3
{{- end -}}

{{/* The gRPC service by whose health a component is ready; the gateway has none of its own. */}}
{{- define "lodeway.healthService" -}}
{{- get (dict "artifacts" "lodeway.artifacts.v1.ArtifactService" "tracking" "lodeway.tracking.v1.TrackingService" "registry" "lodeway.registry.v1.RegistryService" "serving" "lodeway.serving.v1.DeploymentService" "evaluation" "lodeway.evaluation.v1.EvaluationService" "gateway" "") . -}}
{{- end -}}

{{/* Ports of a Service: one that speaks gRPC without TLS; in front of the gateway also one for plain HTTP. */}}
{{- define "lodeway.ports" -}}
- name: grpc
  port: {{ .root.Values.service.port }}
  targetPort: grpc
  protocol: TCP
  appProtocol: kubernetes.io/h2c
{{- if has .component (list "gateway" "embedded") }}
- name: http
  port: {{ .root.Values.service.httpPort }}
  targetPort: grpc
  protocol: TCP
  appProtocol: http
{{- end }}
{{- end -}}

{{/* The name of the Service that clients use. */}}
{{- define "lodeway.frontName" -}}
{{- if eq .Values.mode "split" -}}
{{ include "lodeway.fullname" . }}-gateway
{{- else -}}
{{ include "lodeway.fullname" . }}
{{- end -}}
{{- end -}}
