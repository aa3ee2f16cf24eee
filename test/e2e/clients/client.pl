# GET /big and POST /echo with LWP; prints the SHA-256 of what came, and what was answered.
use strict;
use warnings;
use Digest::SHA 'sha256_hex';
use LWP::UserAgent;

my ($base) = @ARGV;
my $agent = LWP::UserAgent->new(env_proxy => 1, keep_alive => 1);
my $big = $agent->get("$base/big");
die $big->status_line unless $big->is_success;
my $echo = $agent->post("$base/echo", Content => 'x' x 300_000);
die $echo->status_line unless $echo->is_success;
print sha256_hex($big->content), ' ', $echo->content, "\n";
