# The network, where none is given: two public subnets, no way in, no NAT.
resource "aws_vpc" "own" {
  #checkov:skip=CKV2_AWS_11:One task that nothing can connect to; flow logs would cost more than it
  #checkov:skip=CKV2_AWS_12:Nothing uses the default security group
  count                = local.makes_vpc ? 1 : 0
  cidr_block           = "10.253.0.0/26"
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = local.named
}
locals { named = merge(local.tags, { Name = var.name }) }
resource "aws_internet_gateway" "own" {
  count  = local.makes_vpc ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  tags   = local.named
}
resource "aws_route_table" "own" {
  count  = local.makes_vpc ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  tags   = local.named
}
resource "aws_route" "out" {
  count                  = local.makes_vpc ? 1 : 0
  route_table_id         = aws_route_table.own[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.own[0].id
}
resource "aws_subnet" "own" {
  count             = local.makes_vpc ? 2 : 0
  vpc_id            = aws_vpc.own[0].id
  cidr_block        = cidrsubnet(aws_vpc.own[0].cidr_block, 1, count.index)
  availability_zone = data.aws_availability_zones.here[0].names[count.index]
  tags              = local.named
}
resource "aws_route_table_association" "own" {
  count          = local.makes_vpc ? 2 : 0
  depends_on     = [aws_route.out]
  route_table_id = aws_route_table.own[0].id
  subnet_id      = aws_subnet.own[count.index].id
}
resource "aws_vpc_endpoint" "own" {
  for_each        = local.makes_vpc ? toset(["s3", "dynamodb"]) : toset([])
  vpc_id          = aws_vpc.own[0].id
  route_table_ids = [aws_route_table.own[0].id]
  service_name    = "com.amazonaws.${local.region}.${each.key}"
  tags            = local.named
}
resource "aws_security_group" "wall" {
  name_prefix = "${var.name}-"
  description = "sluice - nothing comes in, HTTPS goes out"
  vpc_id      = local.makes_vpc ? aws_vpc.own[0].id : var.vpc_id
  tags        = local.named
  egress {
    description = "Services of AWS"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }
  lifecycle {
    create_before_destroy = true
  }
}
