# Reads a Vagrantfile without Vagrant and prints what it asks for, as JSON: machines with their addresses, and what each
# provider is told. Every provider's block is run, also of those that are not installed here.
require "json"

class Told
  attr_reader :said

  def initialize = @said = {}
  def vmx = @said

  def method_missing(name, *values)
    @said[name.to_s.delete_suffix("=")] = values.first
    self
  end

  def respond_to_missing?(*) = true
end

class Machine
  attr_reader :addresses, :providers, :overrides, :machines, :settings

  def initialize
    @addresses, @providers, @machines, @settings = [], {}, {}, {}
    @overrides = {}
  end

  def vm = self
  def ssh = self
  def trigger = self
  def synced_folder(*) = nil
  def after(*) = nil
  def network(_kind, ip:) = @addresses << ip
  def provider(name) = yield(@providers[name] = Told.new, @overrides[name] = Machine.new)
  def define(name) = yield(@machines[name] = Machine.new)

  def method_missing(name, *values)
    raise NoMethodError, "the test knows no #{name}" unless name.end_with?("=")

    @settings[name.to_s.delete_suffix("=")] = values.first
  end

  def respond_to_missing?(name, *) = name.end_with?("=")
end

module Vagrant
  def self.configure(_version)
    yield(config = Machine.new)
    machines = config.machines.map do |name, machine|
      { name: name, host_name: machine.settings["hostname"], addresses: machine.addresses }
    end
    providers = config.providers.transform_values(&:said)
    boxes = config.overrides.transform_values { |override| override.settings.fetch("box", config.settings["box"]) }
    puts JSON.generate(
      machines: machines, providers: providers, boxes: boxes,
      insert_key: config.settings["insert_key"], known_hosts: KNOWN_HOSTS
    )
  end
end

load ARGV.fetch(0)
